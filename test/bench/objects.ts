// CPU seconds of the work with 10,000 definitions, of server and command together, and of the largest noderange.
//   node test/bench/objects.ts
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeEmit } from '../../services/emit.ts'
import { startAdmin } from '../../services/http/admin.ts'
import type { AdminNeeds } from '../../services/http/admin-needs.ts'
import { openStore } from '../../services/store/store.ts'
import type { Ipv4, NodeName } from '../../src/address.ts'
import { expandNoderange, spellNames } from '../../src/noderange.ts'

const execute = promisify(execFile)
const main = join(import.meta.dirname, '../../services/cli/main.ts')
const folder = mkdtempSync(join(tmpdir(), 'sysclone-bench-'))
const socket = join(folder, 'api.sock')

const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
const report = (what: string, seconds: number, goal: number) =>
  console.log(
    `${what.padEnd(52)} ${seconds.toFixed(2)} s CPU  (goal ${goal})${seconds > goal ? '  MISSED' : ''}`,
  )

function measured(what: string, goal: number, work: () => unknown) {
  const before = cpu()
  work()
  report(what, cpu() - before, goal)
}
const all = new Set(spellNames('n[00001-65536]') as string[])
const known = { nodes: all, groups: new Map([['all', [...all]]]) }
measured('noderange: spell n[00001-65536]', 0.2, () => spellNames('n[00001-65536]'))
measured('noderange: find n[00001-65536]', 0.2, () => expandNoderange('n[00001-65536]', known))
measured('noderange: all,-n[00001-10000]', 0.2, () => expandNoderange('all,-n[00001-10000]', known))
measured('noderange: all@/n\\d*[02468]/', 0.2, () => expandNoderange('all@/n\\d*[02468]/', known))
const list = [...all].join()
measured('noderange: 65,536 names spelled out', 0.3, () => expandNoderange(list, known))

const store = await openStore(join(folder, 'db'))
const admin = await startAdmin({
  socket,
  store,
  networks: [{ subnet: { base: 0x0a000000, prefix: 8 }, address: '10.0.0.1' as Ipv4 }],
  images: { list: () => [], get: () => undefined },
  deploy: {
    // As the server does: a look into the database for each node.
    stat: async (name: NodeName) => ((await store.deployments.ofNode(name)) ? 'install' : 'boot'),
  },
  keepFiles: async () => ({}),
  nodesChanged: () => {},
  emit: makeEmit(() => {}),
} as unknown as AdminNeeds)

async function command(what: string, goal: number, line: string) {
  const before = cpu()
  const shell = `"$0" --disable-warning=ExperimentalWarning "$1" ${line} > /dev/null && times`
  const { stdout } = await execute('sh', ['-c', shell, process.execPath, main], {
    env: { PATH: process.env.PATH, SYSCLONE_SERVER: socket },
  })
  // The second line of `times` is what the children used: user and system, as 0m1.234s.
  const [user, system] = [...stdout.split('\n')[1]!.matchAll(/(\d+)m([\d.]+)s/g)].map(
    ([, minutes, seconds]) => Number(minutes) * 60 + Number(seconds),
  )
  const [server, client] = [cpu() - before, user! + system!]
  report(`${what} (server ${server.toFixed(2)}, command ${client.toFixed(2)})`, server + client, goal)
}
const stanzas = join(folder, 'stanzas')
await command('mkdef n[00001-10000]', 3, 'mkdef -o "n[00001-10000]" groups=all,compute arch=x86_64')
await command('lsdef', 3, 'lsdef')
await command('lsdef -l', 3, 'lsdef -l')
await command('lsdef -z', 3, `lsdef -z | tee ${stanzas}`)
await command('chdef n[00001-10000] -p', 3, 'chdef "n[00001-10000]" -p groups=rack1')
await command('lsdef -w', 3, 'lsdef -w groups=~rack1 -i groups')
await command('rmdef n[00001-10000]', 3, 'rmdef "n[00001-10000]"')
await command('mkdef -z', 3, `mkdef -z ${stanzas}`)
await admin.close()
await store.close()
rmSync(folder, { recursive: true })
