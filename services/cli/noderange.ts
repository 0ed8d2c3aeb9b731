import type { Command } from 'commander'
import { noderangeOf } from './files.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { tableOf } from './table.ts'

type Reading = { text: string; how: string; count: number; depth: number }

const syntax = `
  n1,n2             these               compute,-n2          a group, without n2
  n[1-3,07] n1-n3   ranges              compute@rack1        who is in both
  f[1-2]n[1-3]      all combinations    compute@(n1,n2)      parentheses
  n10+3             and the 3 after it  /n[12].*/            whose whole name matches
  ^FILE             names in a file     arch==x86_64         also != =~ !~`

/** `noderange EXPR`: the names, one a line; `--explain` how each piece was read. */
export function noderange(program: Command, { api, print }: Needs) {
  serverCommand(program, 'noderange', 'print the names that a noderange means')
    .argument('<noderange>')
    .option('--explain', 'show how each piece was read')
    .addHelpText('after', syntax)
    .action(async (typed: string, { server, json, explain }: Shared & { explain?: boolean }) => {
      const expr = noderangeOf(typed)
      const { names, readings } = await api(server).get('/noderange', { expr })
      if (json) return print.json(explain ? { names, readings } : names)
      if (!explain) return print.line(names)
      const rows = (readings as Reading[]).map(({ text, how, count, depth }) => [
        `${'  '.repeat(depth)}${text}`,
        `${how} (${count})`,
      ])
      print.line(tableOf(print, [], rows))
      print.line(`= ${names.length} nodes`)
    })
}
