// Sockets that systemd opens and hands over: sd_listen_fds by a real hand-over through exec.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { handedDescriptors } from '../../services/net/handed.ts'
import { parseSubnet } from '../../src/address.ts'
import { openLan, startServer, until } from './lan.ts'

test('LISTEN_FDS counts for the process that LISTEN_PID names, and for no other', () => {
  const env = { LISTEN_FDS: '2', LISTEN_PID: '100', LISTEN_FDNAMES: 'eth1:eth2' }
  expect(handedDescriptors(env, 100)).toEqual([
    { fd: 3, name: 'eth1' },
    { fd: 4, name: 'eth2' },
  ])
  expect(handedDescriptors(env, 101)).toEqual([])
  expect(handedDescriptors({}, 100)).toEqual([])
  for (const LISTEN_FDS of ['', '0', '-1', 'x', '1e9'])
    expect(handedDescriptors({ ...env, LISTEN_FDS }, 100)).toEqual([])
  expect(handedDescriptors({ LISTEN_FDS: '1', LISTEN_PID: '100' }, 100)).toEqual([{ fd: 3, name: '' }])
})

const lan = openLan('fds', ['server', 'lan'] as const)
const mac = '52:54:00:77:00:21'
const nodes = [{ name: 'n1', mac: [mac], ip: '10.77.0.21', kernelArgs: [] }]
const networks = [{ interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1' }]
beforeAll(() => {
  lan.wire(['server', 's0'], ['lan', 'c0', mac])
  lan.wire(['server', 's1'], ['lan', 'c1'])
  lan.address('server', 's0', '10.77.0.1/24')
  lan.address('server', 's1', '10.78.0.1/24')
})
afterAll(() => lan.close())

/** As systemd does it: opens them as root, then becomes the server; `name address port device`. */
const handOver = `
use Socket; $^F = 100;
my (@sockets, @names);
while (@ARGV and $ARGV[0] ne '--') {
  my ($name, $address, $port, $device) = split / /, shift;
  socket(my $s, PF_INET, SOCK_DGRAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) or die;
  setsockopt($s, SOL_SOCKET, 25, "$device\\0") or die "$device: $!" if $device;
  bind($s, sockaddr_in($port, inet_aton($address))) or die "$address: $!";
  push @sockets, $s; push @names, $name;
}
shift; fileno($sockets[0]) == 3 or die;
$ENV{LISTEN_FDS} = @sockets; $ENV{LISTEN_FDNAMES} = join ':', @names; $ENV{LISTEN_PID} = $$;
exec @ARGV;`
const handed = ['s0 0.0.0.0 67 s0', 's0 0.0.0.0 4011 s0', 'a 10.77.0.1 67', 'b 10.77.0.1 4011']
const unprivileged = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs']
const before = (...sockets: string[]) => ['perl', '-e', handOver, ...sockets, '--']
const udhcpc = () =>
  lan.run('lan', ['udhcpc', '-f', '-n', '-q', '-t', '5', '-T', '1', '-i', 'c0', '-s', '/bin/true'])

test('without any right to open a port, machines are answered', async () => {
  const server = await startServer(
    lan,
    'server',
    { networks, nodes, journal: join(lan.folder, 'a.journal') },
    [...before(...handed), ...unprivileged],
  )
  expect((await udhcpc()).said).toMatch(/lease of 10.77.0.21 obtained/)
  expect(server.seen('dhcp.warn').map(({ why }) => why)).toEqual([
    expect.stringMatching(/can not look for other servers on s0: .*EACCES/),
  ])
  await server.stop()
})

test('systemd-socket-activate: our other sockets find their place beside the one that it opened', async () => {
  const activate = ['systemd-socket-activate', '-d', '-l', '0.0.0.0:67', '--fdname=s0']
  const journal = join(lan.folder, 'b.journal')
  const started = startServer(lan, 'server', { networks, nodes, journal }, activate)
  const asked = await udhcpc() // what it waits for
  const server = await started
  expect(asked.said + (await udhcpc()).said).toMatch(/lease of 10.77.0.21 obtained/)
  await server.stop()
})

test('a socket that nothing needs, or that is none, is refused by name', async () => {
  const start = (...sockets: string[]) => startServer(lan, 'server', { networks, nodes }, before(...sockets))
  await expect(start(...handed, 's1 0.0.0.0 67 s1')).rejects.toThrow(
    /systemd handed over a socket that nothing needs \(0.0.0.0:67, named s1; allowed: .*FileDescriptorName=/,
  )
  const pipe = [
    'perl',
    '-e',
    handOver
      .replace('socket(my $s, PF_INET, SOCK_DGRAM, 0)', 'pipe(my $s, my $w)')
      .replace(/setsockopt\(.*\n/g, '\n')
      .replace(/bind\(\$s.*\n/, '\n'),
    'x 1 1',
    '--',
  ]
  await expect(startServer(lan, 'server', { networks, nodes }, pipe)).rejects.toThrow(
    /systemd handed over what is no UDP socket \(descriptor 3, named x/,
  )
})

test('the whole server passes them to the process that answers, also when that one is started again', async () => {
  const config = join(lan.folder, 'server.yaml')
  writeFileSync(
    config,
    `stateDir: ${join(lan.folder, 'state')}
networks:
  - { interface: s0, subnet: 10.77.0.0/24, address: 10.77.0.1 }
  - { subnet: 10.79.0.0/24, address: 10.77.0.1 } # relayed: reached by the address of the other one
http: { port: 8080, imagePort: 8082, workers: 1 }
tftp: { port: 6969 }
api: { socket: ${join(lan.folder, 'api.sock')} }
`,
  )
  const cli = join(import.meta.dirname, '../../services/cli/main.ts')
  const env = { SYSCLONE_CACHE: process.env.SYSCLONE_CACHE || '/var/cache/sysclone' }
  const serve = [process.execPath, cli, 'serve', '--coexist', '--config', config]
  const server = lan.start('server', [...before(...handed), ...unprivileged, ...serve], { env })
  const why = (): string => server.said()
  const ready = (times: number) => () => {
    if (server.exitCode !== null) throw new Error(why())
    return why().split('"serve.start","process":"boot"').length > times
  }
  await until(ready(1), { timeoutMs: 60_000, why })
  const define = [process.execPath, cli, 'mkdef', '-t', 'node', '-o', 'n1', `mac=${mac}`, 'ip=10.77.0.21']
  const defined = lan.start('server', define, { env: { SYSCLONE_SERVER: join(lan.folder, 'api.sock') } })
  await until(() => defined.exitCode === 0, { why: defined.said })
  expect((await udhcpc()).said).toMatch(/lease of 10.77.0.21 obtained/)
  await lan.run('server', [
    'sh',
    '-c',
    `kill -9 $(ps -o pid=,args= --ppid ${server.pid} | sed -n 's/^ *\\([0-9]*\\) .*boot.ts.*/\\1/p')`,
  ])
  await until(ready(2), { timeoutMs: 30_000, why })
  expect((await udhcpc()).said).toMatch(/lease of 10.77.0.21 obtained/)
  await lan.stop(server)
}, 90_000) // it builds what machines load
