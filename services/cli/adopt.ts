import type { Command } from 'commander'
import { InvalidArgumentError } from 'commander'
import type { Needs } from './needs.ts'
import { type Shared, serverCommand } from './needs.ts'
import { type BootState, parseBootState } from './nodeset.ts'
import { readSecrets, readWords } from './objects.ts'

type Options = Shared & { nodeset?: BootState }

/** `adopt CODE NAME attr=value ...`: the machine that shows the code becomes this node and goes on by itself. */
export function adopt(program: Command, { api, print }: Needs) {
  serverCommand(program, 'adopt', 'make a node of the unknown machine that shows this code on its screen')
    .argument('<code>', 'the six digits on its screen, as in sysclone discovered', parseCode)
    .argument('<name>', 'of the node; one that is defined without a MAC address gets it')
    .argument('[attrs...]', 'attributes of the node, as for mkdef')
    .option(
      '--nodeset <state>',
      'and then, before it asks again: osimage[=IMAGE[:VERSION]] | boot | offline',
      parseBootState,
    )
    .action(async (code: string, name: string, words: string[], options: Options, command: Command) => {
      const { server, json, nodeset } = options
      const { attrs } = await readSecrets(
        readWords(words, { o: name, t: 'node' }, command),
        { t: 'node' },
        command,
      )
      const client = api(server)
      const { mac } = await client.post('/discovered/adopt', { code, name, attrs })
      if (!nodeset) return json ? print.json({ [name]: { mac } }) : print.line(`${name}: adopted ${mac}`)
      const { results } = await client.post('/deployments', { noderange: name, ...nodeset })
      if (!json) print.line(`${name}: adopted ${mac}`)
      print.perObject(results, { json })
    })
}

function parseCode(text: string): string {
  const digits = text.replace(/[ -]/g, '')
  if (!/^\d{6}$/.test(digits)) throw new InvalidArgumentError('Allowed: six digits.')
  return digits
}
