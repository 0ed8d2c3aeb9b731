import { type Command, Option } from 'commander'
import { renderCsv } from '../../src/definition/csv.ts'
import { type DefinitionType, definitionTypes, type Unplaced } from '../../src/definition/definition.ts'
import { renderStanzas } from '../../src/definition/stanza.ts'
import { renderYaml } from '../../src/definition/yaml.ts'
import { definitionOf } from './definition-files.ts'
import { noderangeOf } from './files.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { usage } from './objects.ts'

type Options = Shared & { t?: DefinitionType; o?: string; w?: string[]; format: 'csv' | 'yaml' | 'stanza' }

/** `export`: every definition with all its attributes, to be read by `import`. */
export function exportFile(program: Command, needs: Needs) {
  serverCommand(program, 'export', 'write definitions with all their attributes, as import reads them')
    .addOption(new Option('-t <type>', 'only this type; CSV: default node').choices([...definitionTypes]))
    .option('-o <names>', 'only these: needs -t; for nodes a noderange')
    .addOption(new Option('--format <format>', 'how').choices(['csv', 'yaml', 'stanza']).default('yaml'))
    .action(async ({ server, json, t, o, format }: Options, command: Command) => {
      if (o !== undefined && t === undefined) usage(command, '-o needs -t')
      const types: DefinitionType[] = t
        ? [t]
        : format === 'csv' && !json
          ? ['node']
          : ['osimage', 'group', 'node']
      const client = needs.api(server)
      const objects = t === 'node' && o !== undefined ? noderangeOf(o) : o
      const all: Unplaced[] = []
      for (const type of types) {
        const shown = (await client.get(`/${type}s`, { objects })).objects
        for (const each of shown) all.push(definitionOf(type, each))
      }
      if (json) needs.print.json(byType(all))
      else if (format === 'csv') needs.print.raw(renderCsv(types[0]!, all))
      else needs.print.raw(format === 'yaml' ? renderYaml(all) : renderStanzas(all))
    })
}

/** Type, name, attribute, value. */
function byType(all: Unplaced[]): Record<string, Record<string, Record<string, string>>> {
  const groups = Map.groupBy(all, ({ type }) => type)
  return Object.fromEntries(
    [...groups].map(([type, some]) => [
      type,
      Object.fromEntries(some.map(({ name, attrs }) => [name, attrs])),
    ]),
  )
}
