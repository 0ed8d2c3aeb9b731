import type { Command } from 'commander'
import type { Needs } from './needs.ts'
import {
  attributeHelp,
  needNames,
  type ObjectOptions,
  objectCommand,
  printCount,
  readWords,
} from './objects.ts'

/** `mkdef -t node -o n[1-3] groups=compute`: all of them or none. */
export function mkdef(program: Command, needs: Needs) {
  const description = 'define nodes or osimages: mkdef -o n[1-3] groups=compute'
  objectCommand(program, 'mkdef', ['node', 'osimage'], description)
    .addHelpText('after', attributeHelp)
    .action(async (words: string[], options: ObjectOptions, command: Command) => {
      const named = readWords(words, options, command)
      const body = { objects: needNames(named, command), attrs: named.attrs }
      const { objects } = await needs.api(options.server).post(`/${options.t}s`, body)
      printCount(needs, objects, 'created or modified', options)
    })
}
