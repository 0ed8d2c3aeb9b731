import { type Command, InvalidArgumentError } from 'commander'
import { noderangeOf } from './files.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

export type BootState = { state: 'osimage' | 'boot' | 'offline' | 'stat'; image?: string; version?: number }

/** `nodeset RANGE osimage=IMG[:VERSION]|boot|offline|stat`: what nodes boot next. */
export function nodeset(program: Command, { api, print }: Needs) {
  const description =
    'what nodes boot next: an osimage (boot-only ones until the next nodeset), their own disk, nothing; or stat'
  serverCommand(program, 'nodeset', description)
    .argument('<noderange>')
    .argument('<state>', 'osimage[=IMAGE[:VERSION]] | boot | offline | stat', parseBootState)
    .action(async (noderange: string, state: BootState, { server, json }: Shared) => {
      const { results } = await api(server).post('/deployments', {
        noderange: noderangeOf(noderange),
        ...state,
      })
      print.perObject(results, { json })
    })
}

export function parseBootState(text: string): BootState {
  if (text === 'osimage' || text === 'boot' || text === 'offline' || text === 'stat') return { state: text }
  const match = /^osimage=([^:]+)(?::([1-9]\d{0,8}))?$/.exec(text)
  if (!match) throw new InvalidArgumentError('Allowed: osimage[=IMAGE[:VERSION]] | boot | offline | stat.')
  const version = match[2] === undefined ? {} : { version: Number(match[2]) }
  return { state: 'osimage', image: match[1]!, ...version }
}
