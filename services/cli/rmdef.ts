import type { Command } from 'commander'
import type { Needs } from './needs.ts'
import {
  namesOrWhere,
  type ObjectOptions,
  objectCommand,
  printCount,
  readWords,
  refuseNetworks,
  usage,
  whereOption,
} from './objects.ts'

/** `rmdef -o n[1-3]`: all of them or none. */
export function rmdef(program: Command, needs: Needs) {
  const description = 'remove the definitions of nodes, groups (their nodes stay) or osimages'
  objectCommand(program, 'rmdef', ['node', 'group', 'osimage', 'network'], description)
    .usage('[options] [-t TYPE] [-o] NAMES')
    .addOption(whereOption())
    .action(async (words: string[], options: ObjectOptions, command: Command) => {
      await refuseNetworks(needs, options, words)
      const named = readWords(words, options, command)
      if (Object.keys(named.attrs).length > 0) usage(command, 'attr=value has no meaning here')
      const body = namesOrWhere(named, options, command)
      const { objects } = await needs.api(options.server).delete(`/${options.t}s`, body)
      printCount(needs, objects, 'removed', options)
    })
}
