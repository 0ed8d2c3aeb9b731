import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Asker, askerNames } from '../../src/dhcp/asking.ts'
import type { Api } from './api.ts'
import { captureText, isDifferent, replayCapture } from './explain-capture.ts'
import { bootText, type Explained, machineText } from './explain-text.ts'
import { readBytes, readText } from './files.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

type Options = Shared & { boot?: number; arch?: Asker[]; config?: string; all?: boolean }

/** `explain n1|MAC|FILE.pcap`: why a machine gets what it gets. Nothing is sent. */
export function explain(program: Command, { api, print }: Needs) {
  serverCommand(program, 'explain', 'why a machine gets its address, options, file and text; nothing is sent')
    .argument('<what>', 'a node, a MAC address, or a packet capture (pcap, pcapng)')
    .option('--boot <number>', 'what that boot really got: -1 the last, -2 the one before', parseBoot)
    .addOption(
      new Option('--arch <kinds>', 'asked as these, with commas: '.concat(askerNames.join(' '))).argParser(
        parseKinds,
      ),
    )
    .option('--config <file>', 'answered by this configuration instead of the running one')
    .option('--all', 'of a capture: also the requests whose replies are the same')
    .action(async (what: string, { server, json, boot, arch, config, all }: Options) => {
      const client = api(server)
      const other = config === undefined ? {} : { config: { name: config, text: readText(config) } }
      if (isFile(what)) {
        const replayed = await replayCapture(readBytes(what), what, (exchanges) =>
          client.post('/explain', { exchanges, ...other }),
        )
        if (isDifferent(replayed)) print.fail()
        if (json) return print.json(replayed)
        return print.line(captureText(replayed, { all: all === true }))
      }
      const explained = await ask(client, {
        machine: what,
        ...(boot !== undefined && { boot }),
        ...(arch && { clients: arch }),
        ...other,
      })
      if (json) return print.json(explained)
      print.line(boot === undefined ? machineText(explained) : bootText(explained))
    })

  const ask = (client: Api, body: object): Promise<Explained> => client.post('/explain', body)
}

const isFile = (what: string) => what.includes('/') || /\.(pcap|pcapng|cap|dmp)$/i.test(what)

function parseBoot(text: string): number {
  if (!/^-\d{1,3}$/.test(text) || Number(text) === 0)
    throw new InvalidArgumentError('Allowed: -1, -2 and so on.')
  return Number(text)
}

function parseKinds(text: string): Asker[] {
  const wrong = text.split(',').find((kind) => !(askerNames as string[]).includes(kind))
  if (wrong !== undefined) throw new InvalidArgumentError(`Allowed: ${askerNames.join(' ')}.`)
  return text.split(',') as Asker[]
}
