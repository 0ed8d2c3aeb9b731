import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { UserError } from '../../src/fault.ts'
import { type Cluster, type Import, parseCluster, planImport } from '../../src/node/cluster.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

type Options = Shared & { dryRun?: boolean }

/** `sysclone import-cluster FILE`: groups, priorities, images and nodes of SystemImager's cluster.xml, all or none. */
export function importCluster(program: Command, { api, print }: Needs) {
  serverCommand(program, 'import-cluster', "groups, images and nodes of SystemImager's cluster.xml")
    .argument('<file>', 'as /etc/systemimager/cluster.xml')
    .option('--dry-run', 'show what would be written, and write nothing')
    .action(async (file: string, { server, json, dryRun }: Options) => {
      const cluster = parseCluster(await readText(file), file)
      const { objects: nodes } = await api(server).get('/nodes', { attrs: 'ip,groups,osimage' })
      const { objects: osimages } = await api(server).get('/osimages', { attrs: '' })
      const plan = planImport(
        cluster,
        nodes.map(({ name, attrs }: any) => ({ name, ...attrs })),
        osimages.map(({ name }: any) => name),
      )
      if (!dryRun && plan.definitions.length > 0)
        await api(server).post('/definitions', { mode: 'put', entries: plan.definitions })
      if (json) return print.json({ ...plan, left: cluster.left })
      for (const line of describe(cluster, plan)) print.line(line)
      const count = `${plan.definitions.length} object definitions`
      print.line(dryRun ? `${count} would be written.` : `${count} have been created or modified.`)
    })
}

async function readText(file: string): Promise<string> {
  const bytes = await readFile(file).catch((error: Error) => {
    throw new UserError('the file can not be read', { what: error.message, object: file })
  })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new UserError('not UTF-8', { what: 'bytes of another encoding', allowed: 'UTF-8', object: file })
  }
}

function describe({ groups, left }: Cluster, { choices, newImages, keepOwn }: Import): string[] {
  const rows = groups.map(({ name, priority, image }) => {
    const chosen = choices.filter(({ of }) => of === name).length
    return `  ${name}: priority ${priority ?? '-'}, osimage ${image ?? '-'}, decides for ${chosen} nodes`
  })
  const conflicts = choices.filter(({ others }) => others.length > 0)
  return [
    'Groups, the foremost first (lowest priority number, then by name):',
    ...rows,
    ...conflicts.map(({ node, image, of, others }) => `${node}: ${image} of ${of}; ${others.join(', ')}`),
    ...keepOwn.map((name) => `${name}: keeps its own osimage; chdef ${name} osimage= lets its groups decide`),
    ...newImages.map((name) => `osimage ${name}: defined, to be captured: imgcapture NODE -o ${name}`),
    ...left.map((what) => `not taken over: ${what}`),
  ]
}
