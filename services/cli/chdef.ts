import { type Command, Option } from 'commander'
import type { Needs } from './needs.ts'
import {
  attributeHelp,
  namesOrWhere,
  type ObjectOptions,
  objectCommand,
  printCount,
  readSecrets,
  readWords,
  refuseNetworks,
  stanzaOption,
  usage,
  whereOption,
  writeStanzas,
} from './objects.ts'

type Options = ObjectOptions & { p?: boolean; m?: boolean }

/** `chdef -o n1 ip=10.0.0.7`; `-p` adds to lists, `-m` takes from them. All objects are changed or none. */
export function chdef(program: Command, needs: Needs) {
  const description =
    'change nodes, groups or osimages: chdef n1 ip=10.0.0.7; an empty value takes an attribute away'
  objectCommand(program, 'chdef', ['node', 'group', 'osimage', 'network'], description)
    .addHelpText('after', attributeHelp)
    .option('-p', 'add the values to lists')
    .addOption(new Option('-m', 'take the values from lists').conflicts('p'))
    .addOption(whereOption())
    .addOption(stanzaOption().conflicts(['o', 'w', 'p', 'm']))
    .action(async (words: string[], options: Options, command: Command) => {
      await refuseNetworks(needs, options, words)
      printCount(needs, await change(words, options, command), 'created or modified', options)
    })

  async function change(words: string[], options: Options, command: Command): Promise<string[]> {
    if (options.z !== undefined) {
      if (words.length > 0) usage(command, 'with -z, names and attributes are in the file')
      return writeStanzas(needs, options, 'change')
    }
    const typed = readWords(words, options, command)
    if (Object.keys(typed.attrs).length === 0) usage(command, 'attr=value is needed')
    namesOrWhere(typed, options, command)
    const named = await readSecrets(typed, options, command)
    const op = options.p ? 'add' : options.m ? 'remove' : 'set'
    const body = { ...namesOrWhere(named, options, command), attrs: named.attrs, op }
    return (await needs.api(options.server).patch(`/${options.t}s`, body)).objects
  }
}
