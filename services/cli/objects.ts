// How the definition commands name objects and attributes: `-t TYPE -o NAMES attr=value ...`, or the names first.
import { type Command, Option } from 'commander'
import type { AttributeTable } from '../../src/attribute.ts'
import { osimageAttributes } from '../../src/image/osimage.ts'
import { nodeAttributes } from '../../src/node/attributes.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

export type ObjectOptions = Shared & { t: string; o?: string }
export type Named = { objects: string | undefined; attrs: Record<string, string> }

/** A definition command: its type option knows `types`, the first of them is meant without it. */
export function objectCommand(program: Command, name: string, types: string[], description: string): Command {
  return serverCommand(program, `${name} [words...]`, description)
    .usage('[options] [-t TYPE] [-o] NAMES [attr=value...]')
    .addOption(new Option('-t <type>', 'type of the objects').choices(types).default(types[0]))
    .option('-o <names>', 'names, with commas between; for nodes a noderange')
}

/** Every attribute that can be set, for the help of the commands that set them. */
export function attributeHelp(): string {
  const rows = (table: AttributeTable<any>) =>
    Object.entries(table)
      .filter(([, { set }]) => set)
      .map(([name, { describe }]) => `  ${name.padEnd(16)}${describe}`)
  const lists = [
    ['', 'Attributes of a node:', ...rows(nodeAttributes)],
    ['', 'Attributes of an osimage:', ...rows(osimageAttributes)],
  ]
  return lists.flat().join('\n')
}

/** Words with `=` are attributes; one without is the names, as after -o. */
export function readWords(words: string[], { o }: { o?: string }, command: Command): Named {
  const attrs: Record<string, string> = {}
  const names: string[] = o === undefined ? [] : [o]
  for (const word of words) {
    const [, attribute, value] = /^([A-Za-z]\w*)=(.*)$/s.exec(word) ?? []
    if (attribute === undefined) names.push(word)
    else if (Object.hasOwn(attrs, attribute)) usage(command, `${attribute} is given twice`)
    else attrs[attribute] = value!
  }
  return { objects: names.length === 0 ? undefined : names.join(), attrs }
}

/** The names, which commands that change something do not do without. */
export function needNames({ objects }: Named, command: Command): string[] {
  return objects === undefined ? usage(command, 'names are needed: -o NAMES') : [objects]
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
