// A machine on the network of a test's world: a network namespace of its own on the world's bridge, with real clients.
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addresses, type World } from './world.ts'

type Got = { ip: string; file: string }
export type Machine = ReturnType<typeof openMachine>
let count = 0

/** Firmware, as far as a DHCP server can tell: busybox udhcpc with its options. */
const firmware = {
  bios: ['-V', 'PXEClient:Arch:00000:UNDI:002001', '-x', '0x5d:0000'],
  uefi: ['-V', 'PXEClient:Arch:00007:UNDI:003000', '-x', '0x5d:0007'],
  ipxe: ['-V', 'PXEClient:Arch:00000:UNDI:002001', '-x', '0x5d:0000', '-x', '0x4d:69505845'],
  os: [],
} as const

export function openMachine(world: Pick<World, 'namespace' | 'folder'>, mac: string) {
  const id = ++count
  const namespace = `${world.namespace}m${id}`
  const ip = (...words: string[]) => execFileSync('ip', words, { encoding: 'utf8' })
  const inside = ['netns', 'exec', namespace]
  ip('netns', 'add', namespace)
  ip('-n', namespace, 'link', 'set', 'lo', 'up')
  ip('-n', world.namespace, ...`link add m${id} type veth peer name eth0 netns ${namespace}`.split(' '))
  ip('-n', world.namespace, ...`link set m${id} master br0 up`.split(' '))
  ip('-n', namespace, ...`link set eth0 address ${mac} up`.split(' '))
  const script = join(world.folder, `udhcpc-${id}`)
  // Says what it got; gives the interface its address.
  writeFileSync(
    script,
    `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev eth0
ip addr add "$ip/24" dev eth0
echo "ip=$ip file=$boot_file next=$siaddr"
`,
  )
  chmodSync(script, 0o755)

  function run(...words: string[]): { code: number | null; out: string } {
    const { status, stdout, stderr } = spawnSync('ip', [...inside, ...words], {
      encoding: 'utf8',
      timeout: 20_000,
    })
    return { code: status, out: stdout + stderr }
  }

  const udhcpc = (as: keyof typeof firmware): string[] => [
    ...['busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-t', '3', '-T', '1', '-s', script],
    ...['-O', 'bootfile', '-O', 'tftp', ...firmware[as]],
  ]
  function got(out: string): Got | undefined {
    const [, address, file] = /ip=(\S+) file=(\S*)/.exec(out) ?? []
    return address === undefined ? undefined : { ip: address, file: file! }
  }

  return {
    mac,
    namespace,
    run,
    /** One DORA as that client; what it got, or undefined when nobody answered. */
    dhcp(as: keyof typeof firmware): Got | undefined {
      return got(run(...udhcpc(as)).out)
    },
    dhcpAsync(as: keyof typeof firmware): Promise<Got | undefined> {
      return new Promise((done) => {
        const options = { encoding: 'utf8', timeout: 20_000 } as const
        execFile('ip', [...inside, ...udhcpc(as)], options, (_, out, err) => done(got(out + err)))
      })
    },
    tftp(name: string): { code: number | null; out: string } {
      return run('busybox', 'tftp', '-g', '-r', name, '-l', '-', addresses.server)
    },
    http(path: string): { status: number; body: string } {
      const url = path.startsWith('http') ? path : `http://${addresses.server}${path}`
      const { out } = run('curl', '-s', '-m', '10', '-w', '\n%{http_code}', url)
      const end = out.lastIndexOf('\n')
      return { status: Number(out.slice(end + 1)), body: out.slice(0, end) }
    },
    close: () => void ip('netns', 'del', namespace),
  }
}
