import { type Command, Option } from 'commander'
import type { Needs } from './needs.ts'
import {
  attributeHelp,
  needNames,
  type ObjectOptions,
  objectCommand,
  printCount,
  readWords,
  usage,
} from './objects.ts'

type Options = ObjectOptions & { p?: boolean; m?: boolean }

/** `chdef -o n1 ip=10.0.0.7`; `-p` adds to lists, `-m` takes from them. All objects are changed or none. */
export function chdef(program: Command, needs: Needs) {
  const description = 'change nodes or osimages: chdef n1 ip=10.0.0.7; an empty value takes an attribute away'
  objectCommand(program, 'chdef', ['node', 'osimage'], description)
    .addHelpText('after', attributeHelp)
    .option('-p', 'add the values to lists')
    .addOption(new Option('-m', 'take the values from lists').conflicts('p'))
    .action(async (words: string[], options: Options, command: Command) => {
      const named = readWords(words, options, command)
      if (Object.keys(named.attrs).length === 0) usage(command, 'attr=value is needed')
      const op = options.p ? 'add' : options.m ? 'remove' : 'set'
      const body = { objects: needNames(named, command), attrs: named.attrs, op }
      const { objects } = await needs.api(options.server).patch(`/${options.t}s`, body)
      printCount(needs, objects, 'created or modified', options)
    })
}
