import { type Command, Option } from 'commander'
import { parseCsv } from '../../src/definition/csv.ts'
import type { Definition } from '../../src/definition/definition.ts'
import { parseStanzas } from '../../src/definition/stanza.ts'
import { parseYaml } from '../../src/definition/yaml.ts'
import { withoutUnknown, writeFile } from './definition-files.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { printCount, usage } from './objects.ts'

const parsers: Record<string, (text: string) => Definition[]> = {
  csv: parseCsv,
  yaml: parseYaml,
  stanza: (text) => parseStanzas(text, 'node'),
}
const endings: Record<string, string> = { csv: 'csv', yaml: 'yaml', yml: 'yaml', stanza: 'stanza' }

type Options = Shared & { format?: string; skipUnknown?: boolean }

/** `import FILE`: what is in it is made or changed, all or nothing. */
export function importFile(program: Command, needs: Needs) {
  serverCommand(program, 'import', 'define and change objects from a file, all of them or none')
    .argument('<file>', 'as export writes it; - reads the standard input')
    .addOption(new Option('--format <format>', 'default: by the ending').choices(Object.keys(parsers)))
    .option(
      '--skip-unknown',
      'leave out attributes that can not be set here, and name them: for files of xCAT',
    )
    .addHelpText('after', '\nAttributes that are named are set, empty ones are taken away, others stay.')
    .action(async (path: string, options: Options, command: Command) => {
      const format = options.format ?? endings[/\.(\w+)$/.exec(path)?.[1] ?? '']
      if (format === undefined) usage(command, `--format is needed: ${Object.keys(parsers).join(' | ')}`)
      let left: string[] = []
      const parse = (text: string) => {
        const all = parsers[format]!(text)
        if (!options.skipUnknown) return all
        const sorted = withoutUnknown(all)
        left = sorted.left
        return sorted.known
      }
      const objects = await writeFile(needs.api(options.server), path, 'put', parse)
      if (!options.json) needs.print.line(left.map((each) => `left out: ${each}`))
      printCount(needs, objects, 'created or modified', options)
    })
}
