// How the definition commands name objects and attributes: `-t TYPE -o NAMES attr=value ...`, or the names first.
import { type Command, Option } from 'commander'
import type { DefinitionType } from '../../src/definition/definition.ts'
import { parseStanzas } from '../../src/definition/stanza.ts'
import { UserError } from '../../src/fault.ts'
import { attributeTables, writeFile } from './definition-files.ts'
import { noderangeOf, readHiddenLine } from './files.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

export type ObjectOptions = Shared & { t: string; o?: string; w?: string[]; z?: string | true }
export type Named = { objects: string | undefined; attrs: Record<string, string> }

/** A definition command: its type option knows `types`, the first of them is meant without it. */
export function objectCommand(program: Command, name: string, types: string[], description: string): Command {
  return serverCommand(program, `${name} [words...]`, description)
    .usage('[options] [-t TYPE] [-o] NAMES [attr=value...]')
    .addOption(new Option('-t <type>', 'type of the objects').choices(types).default(types[0]))
    .option('-o <names>', 'names, with commas between; for nodes a noderange')
}

/** Selections; several must all hold. */
export const whereOption = (describe = 'only where attr==value, !=, =~ or !~ a pattern; may be repeated') =>
  new Option('-w <selection>', describe).argParser((text: string, before: string[] | undefined) => [
    ...(before ?? []),
    text,
  ])
export const whereOf = ({ w }: { w?: string[] }): string | undefined => w?.join('::')

export const stanzaOption = () =>
  new Option('-z [file]', 'read the objects from a stanza file, or the standard input').conflicts(['o', 'w'])

/** `-z`: what the stanzas say, all or nothing. */
export async function writeStanzas(
  needs: Needs,
  { z, t, server }: ObjectOptions,
  mode: 'make' | 'change',
): Promise<string[]> {
  const parse = (text: string) => parseStanzas(text, t as DefinitionType)
  return writeFile(needs.api(server), z === true ? '-' : z!, mode, parse)
}

/** Every attribute that can be set, for the help of the commands that set them. */
export function attributeHelp(): string {
  return Object.entries(attributeTables)
    .flatMap(([type, table]) => [
      '',
      `Attributes of a${/^[aeiou]/.test(type) ? 'n' : ''} ${type}:`,
      ...Object.entries(table)
        .filter(([, { set }]) => set)
        .map(([name, { describe }]) => `  ${name.padEnd(16)}${describe}`),
    ])
    .join('\n')
}

/** Networks are shown and never changed here: says where they are. */
export async function refuseNetworks({ api }: Needs, { t, server, o }: ObjectOptions, words: string[]) {
  if (t !== 'network') return
  const { place } = await api(server).get('/networks')
  throw new UserError('networks come from the configuration file alone', {
    what: o ?? words[0] ?? 'network',
    allowed: `${place ?? 'networks: of that file'} changed, and the server started anew`,
  })
}

/** Words with `=` are attributes; one without is the names, as after -o. */
export function readWords(words: string[], { o, t }: { o?: string; t: string }, command: Command): Named {
  const attrs: Record<string, string> = {}
  const names: string[] = o === undefined ? [] : [o]
  for (const word of words) {
    const [, attribute, value] = /^([A-Za-z]\w*)=(?![=~])(.*)$/s.exec(word) ?? []
    if (attribute === undefined) names.push(word)
    else if (Object.hasOwn(attrs, attribute)) usage(command, `${attribute} is given twice`)
    else attrs[attribute] = value!
  }
  if (names.length === 0) return { objects: undefined, attrs }
  return { objects: t === 'node' ? noderangeOf(names.join()) : names.join(), attrs }
}

/** `bmcpassword=-` is read from the standard input: every user of a machine can see the arguments of its processes. */
export async function readSecrets(
  { objects, attrs }: Named,
  { t }: { t: string },
  command: Command,
): Promise<Named> {
  const table = attributeTables[t as DefinitionType]
  const asked = Object.keys(attrs).filter(
    (name) => attrs[name] === '-' && Object.hasOwn(table, name) && table[name]!.secret,
  )
  if (asked.length > 1) usage(command, `only one of ${asked.join(' ')} can be read from the standard input`)
  const [name] = asked
  return { objects, attrs: name === undefined ? attrs : { ...attrs, [name]: await readHiddenLine(name) } }
}

/** The names, which commands that change something do not do without. */
export function needNames({ objects }: Named, command: Command): string[] {
  return objects === undefined ? usage(command, 'names are needed: -o NAMES') : [objects]
}

/** Names, or selections in their place. */
export function namesOrWhere({ objects }: Named, options: ObjectOptions, command: Command) {
  const where = whereOf(options)
  if (where === undefined && objects === undefined) usage(command, 'names are needed: -o NAMES, or -w')
  return { ...(objects !== undefined && { objects: [objects] }), ...(where !== undefined && { where }) }
}

/** Ends the command as a mistake in how it was typed. */
export function usage(command: Command, text: string): never {
  return command.error(`error: ${text}`, { exitCode: 2 })
}

/** xCAT's last line of a command that changed definitions. */
export function printCount({ print }: Needs, objects: string[], done: string, { json }: Shared) {
  if (json) print.json({ objects })
  else print.line(`${objects.length} object definitions have been ${done}.`)
}
