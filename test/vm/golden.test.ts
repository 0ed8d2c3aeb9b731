// Golden clients of other makes than file systems on partitions, in QEMU, captured as an administrator does it: all of their
// file systems are in the image, the layout says what they are made of, and what cannot be installed yet is refused by name.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DiskLayout } from '../../src/image/disk-layout.ts'
import { compareTrees, type Differences, readTold, type Tree } from './golden/compare.ts'
import { type GoldenLab, openGoldenLab, script } from './golden/lab.ts'

const abort = new AbortController()
const say = (line: string) => process.stderr.write(`  ${line}\n`)
let lab: GoldenLab
const parts = { begun: 0, done: 0 }

beforeAll(async () => {
  lab = await openGoldenLab(abort.signal, say)
  await lab.startServer()
  await lab.sysclone('mkdef', '-t', 'node', '-o', 'n1', 'mac=52:54:00:77:00:11', 'ip=10.77.0.11')
})
afterAll(async () => {
  await lab?.close(parts.done < parts.begun)
  abort.abort(new Error('the test run ended'))
})

/** Why a path of the golden client is not in its image: the rules that README and `--check` tell of. */
const staysOut: [string, RegExp][] = [
  ['what mkfs makes', /(^|\/)lost\+found$/],
  [
    'identity',
    /^etc\/(machine-id|ssh\/ssh_host_[^/]+)$|^var\/lib\/systemd\/(random-seed|credential\.secret)$/,
  ],
  ['leases', /^var\/lib\/dhcp\/[^/]+\.leases?$/],
  ['disks of this machine', /^etc\/lvm\/(archive|backup|devices)\/.+/],
  ['older hashes', /^etc\/g?shadow-$/],
  ['journal', /^var\/log\/journal\/.+/],
  ['caches', /^var\/cache\/apt\/.+/],
]
/** Written whenever somebody logs in, as those who look do. */
const written = /^var\/log\/(wtmp|lastlog|btmp)$/

const unexplained = (paths: string[], more: RegExp = /(?!)/) =>
  paths.filter((path) => !more.test(path) && !staysOut.some(([, test]) => test.test(path)))

/** Nothing but what was to stay out is missing, and all the rest is as it was. */
function expectCopy({ missing, extra, different }: Differences, more?: { out?: RegExp; written?: RegExp }) {
  expect(unexplained(missing, more?.out)).toEqual([])
  expect(extra).toEqual([])
  expect(
    different.filter((line) => !written.test(line.split(':')[0]!) && !more?.written?.test(line)),
  ).toEqual([])
}

/** tree.sh's files of a folder are there with all that is odd about them. */
function expectTree(image: Tree, folder: string) {
  const at = (name: string) => image.get(`${folder}/tree/${name}`)!
  expect(at('owned')).toMatchObject({ type: 'f', facts: '4751|1234|567890' })
  expect(at('deep')).toMatchObject({ type: 'd', facts: '2750|12|34' })
  expect(at('capable').attributes).toMatch(/^security\.capability=0x0100000200300000/)
  expect(at('attributes').attributes).toMatch(
    /system\.posix_acl_access=0x.* user\.sysclone\.note=0x74776f20776f726473/,
  )
  expect(at('deep/er').attributes).toMatch(/system\.posix_acl_default=0x/)
  for (const name of ['deep/noise-too', 'deep/er/noise-three']) expect(at(name).inode).toBe(at('noise').inode)
  expect(at('deep/capable-too').inode).toBe(at('capable').inode)
  expect(at('sparse').size).toBe('5000003')
  expect(at('empty').mtime).toBe('981173106.1234567890')
  expect(at('dangling')).toMatchObject({
    type: 'l',
    target: '../no where|at//all',
    mtime: '915148800.5000000000',
  })
  expect(at('fifo')).toMatchObject({ type: 'p', facts: '640|0|0' })
  expect(at('node').type).toBe('c')
  expect(at('blank, "quoted" * and\nnewline').sha256).toBe(at('bytes-\xff\x01-\xc3\xa4').sha256)
}

const details = async (version: string) =>
  JSON.parse((await lab.ask(['lsimage', version, '-l', '--json'])).stdout)[0]
const output = async (...words: string[]) => (await lab.sysclone(...words)).stdout

// Two files, always written one after the other, far from each other in any order of files; and one that takes seconds to read.
const writer = `mkdir -p /etc/counted /var/counted
head -c 20000000 /dev/urandom > /var/counted/long
cat > /root/count.sh <<'END'
i=0
while :; do
    i=$((i + 1))
    echo $i >> /etc/counted/first
    echo $i >> /var/counted/second
    echo $i >> /var/counted/long
    sleep 0.02
done
END
setsid sh /root/count.sh < /dev/null > /dev/null 2>&1 &
echo $! > /run/count.pid
`
const counted = 'tail -n 1 /etc/counted/first'

describe('mirrors, LVM on them, ext4 and xfs', () => {
  const notYet = [
    'several disks (/dev/vda, /dev/vdb)',
    ...['/dev/md0 (md raid1)', '/dev/md1 (md raid1)', 'LVM group vg0 (linear)', 'xfs file systems'],
  ]
  const node = { mac: '52:54:00:77:00:20', ip: '10.77.0.20' }
  let found: {
    check: string
    first: { said: string; files: Differences; image: Tree }
    second: { said: string; files: Differences; image: Tree; counts: string[]; counters: [string, string] }
    left: string
    layout: DiskLayout
    table: string
    nodeset: { code: number; stderr: string }
  }
  beforeAll(async () => {
    parts.begun += 1
    const { hostKey } = await lab.built('lvm')
    const attributes = [`mac=${node.mac}`, `ip=${node.ip}`, `sshhostkey=${hostKey}`]
    await output('mkdef', '-t', 'node', '-o', 'lvm', ...attributes)
    const golden = await lab.boot('lvm', node)
    const told = async () => readTold(await golden.ssh(script('told.sh'), '/'))
    await golden.ssh(script('tree.sh'), '/opt', '/boot', '/srv')
    const check = await output('imgcapture', 'lvm', '-o', 'lvm', '--check')
    await golden.ssh(writer)
    const firstSaid = await output('imgcapture', 'lvm', '-o', 'lvm', '-V')
    const firstTold = await told()
    const firstImage = await lab.filesOf('lvm:1')

    await golden.ssh(`cd /opt/tree; rm owned; echo more >> noise; mv link moved; mkdir /srv/new; echo new > /srv/new/file
      chmod 600 /boot/tree/attributes; setcap -r /srv/tree/capable; rm -r /srv/tree/deep/er; ln /srv/tree/empty /srv/new/empty-too; sync`)
    const counts = [await golden.ssh(counted)]
    const secondSaid = await output('imgcapture', 'lvm', '-o', 'lvm', '--snapshot', '-V')
    counts.push(await golden.ssh(counted))
    const left =
      await golden.ssh(`lvs --noheadings -o lv_name vg0 | tr -d ' '; grep sysclone /proc/mounts || true; ls /run | grep sysclone || true
      for place in / /boot /srv; do timeout 60 sh -c 'echo thawed > "$1/thawed"; sync -f "$1"; rm "$1/thawed"' sh $place; done; echo writable
      kill "$(cat /run/count.pid)"`)
    const secondTold = await told()
    const secondImage = await lab.filesOf('lvm:2')
    const cat = async (path: string) => (await lab.ask(['cat', 'lvm:2', path])).stdout
    const counters: [string, string] = [await cat('/etc/counted/first'), await cat('/var/counted/second')]
    await golden.powerOff()
    found = {
      check,
      first: { said: firstSaid, files: compareTrees(firstTold, firstImage), image: firstImage },
      second: {
        ...{ said: secondSaid, files: compareTrees(secondTold, secondImage), image: secondImage },
        ...{ counts, counters },
      },
      left,
      layout: (await details('lvm:2')).layout,
      table: (await lab.ask(['lsimage', 'lvm'])).stdout,
      nodeset: await lab.ask(['nodeset', 'n1', 'osimage=lvm']),
    }
    parts.done += 1
  })

  test('the look at it and the list of images name what cannot be installed yet', () => {
    for (const said of [found.check, found.first.said, found.second.said, found.table])
      for (const why of notYet) expect(said).toContain(why)
    expect(found.check).toMatch(/captured, not yet deployable:/)
    expect(found.check).toMatch(/machine-id:regenerate {2}1 file made anew/)
    expect(found.check).toMatch(/ssh-host-keys:regenerate {2}2 files made anew/)
    expect(found.check).toMatch(/lvm-devices:drop {2}\d+ files? left out/)
  })

  test('the report says in numbers what was fetched, left out and moved', () => {
    const { said, image } = found.first
    expect(said).toContain('lvm: captured as lvm:1')
    const [, entries, fetched] = /entries ([\d,]+): 0 unchanged, ([\d,]+) fetched/.exec(said)!
    expect(Number(entries!.replaceAll(',', ''))).toBe(image.size + 1) // and the root itself
    expect(fetched).toBe(entries)
    expect(said).toMatch(/^ *captured, not yet deployable: several disks/m) // while it runs, and again in the report
    expect(said).toMatch(/moved [\d.,]+ MB, stored [\d.,]+ MB/)
    expect(said).toMatch(/left out 2: made by mkfs/)
    expect(said).toMatch(/left out \d+: scrub: machine-id:regenerate/)
    expect(said).toMatch(/read again because they were written to \d+\n/)
    expect(said).toMatch(/still written to while they were read 1\n +\/var\/counted\/long\n/)
  })

  test('all files of /, /boot and /srv are in the image as they are on the machine', () => {
    expectCopy(found.first.files, { written: /^(etc|var)\/counted\// })
    for (const folder of ['opt', 'boot', 'srv']) expectTree(found.first.image, folder)
    expect(
      [...found.first.image.keys()].filter((path) => /^boot\/(vmlinuz|initrd\.img)-/.test(path)).length,
    ).toBe(2)
  })

  test('the second version, from snapshots: a change of each kind is in it, and little was moved', () => {
    const { said, files, image } = found.second
    expect(said).toMatch(/lvm: captured as lvm:2\n.*on top of lvm:1/)
    expect(said).toMatch(/moved [\d.]{1,4} MB/)
    expect(said).not.toMatch(/still written to|read again|gone before/)
    // Of the folders that something is mounted on a snapshot has what lies below.
    expectCopy(files, { written: /^(etc|var)\/counted\/|^(proc|sys): mode, owner: 555\|0\|0 -> 755\|0\|0$/ })
    expect(image.has('opt/tree/owned')).toBe(false)
    expect(image.get('srv/new/empty-too')?.inode).toBe(image.get('srv/tree/empty')?.inode)
    expect(image.get('srv/tree/capable')?.attributes).toBeUndefined()
  })

  test('what was written while it ran is of one moment in it', () => {
    const [first, second] = found.second.counters.map((text) => text.trim().split('\n').map(Number))
    const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
    expect(first).toEqual(upTo(first!.length))
    expect(second).toEqual(upTo(second!.length))
    expect([0, 1]).toContain(first!.length - second!.length)
    const [before, after] = found.second.counts.map(Number)
    expect(first!.length).toBeGreaterThanOrEqual(before!)
    expect(first!.length).toBeLessThan(after!)
  })

  test('nothing of the snapshots is left there, and nothing is frozen', () => {
    expect(found.left.trim().split('\n')).toEqual(['root', 'srv', 'swap', 'writable'])
  })

  test('the layout says what the disks are made of', () => {
    const { disks, arrays = [], groups = [] } = found.layout
    expect(disks.map(({ path, label }) => [path, label])).toEqual([
      ['/dev/vda', 'gpt'],
      ['/dev/vdb', 'gpt'],
    ])
    for (const { partitions } of disks)
      expect(partitions.map(({ number, member }) => [number, member?.array])).toEqual([
        [1, undefined],
        [2, '/dev/md0'],
        [3, '/dev/md1'],
      ])
    expect(arrays).toMatchObject([
      {
        path: '/dev/md0',
        level: 'raid1',
        metadata: '1.2',
        devices: 2,
        filesystem: { type: 'ext4', mountpoint: '/boot' },
      },
      {
        path: '/dev/md1',
        level: 'raid1',
        metadata: '1.2',
        devices: 2,
        bitmap: 'internal',
        physical: { group: 'vg0' },
      },
    ])
    expect(groups.map(({ name }) => name)).toEqual(['vg0'])
    expect(
      groups[0]!.volumes.map(({ name, bytes, filesystem }) => [
        name,
        bytes >> 20,
        filesystem?.type,
        filesystem?.mountpoint,
      ]),
    ).toEqual([
      ['root', 960, 'ext4', '/'],
      ['srv', 320, 'xfs', '/srv'],
      ['swap', 64, 'swap', undefined],
    ])
  })

  test('to install it is refused, with all the reasons', () => {
    expect(found.nodeset.code).toBe(1)
    expect(found.nodeset.stderr).toMatch(/^n1: the image cannot be installed yet/)
    for (const why of notYet) expect(found.nodeset.stderr).toContain(why)
  })
})

describe('btrfs subvolumes and LUKS, behind another machine, by sudo', () => {
  const node = { mac: '52:54:00:77:00:21', ip: '10.78.0.20' }
  let found: {
    unknown: { code: number; stderr: string }[]
    keys: string[]
    check: string
    said: string
    files: Differences
    image: Tree
    details: { layout: DiskLayout; scrub: string; notDeployable: string[] }
    ram: { said: string; files: Differences; image: Tree }
    nodeset: { code: number; stderr: string }[]
  }
  beforeAll(async () => {
    parts.begun += 1
    const gate = await lab.openGate()
    const { hostKey } = await lab.built('btrfs')
    const golden = await lab.boot('btrfs', { ...node, inside: gate.inside })
    const told = async () => readTold(await golden.ssh(script('told.sh'), '/'))
    await golden.ssh(`btrfs -q subvolume create /home/inner; btrfs -q subvolume create /opt/deep`)
    await golden.ssh(script('tree.sh'), '/opt', '/home', '/home/inner', '/opt/deep', '/srv')
    await output(
      'mkdef',
      '-t',
      'node',
      '-o',
      'behind',
      `mac=${node.mac}`,
      `ip=${node.ip}`,
      'sshuser=admin',
      `sshjump=${gate.jump}`,
    )
    // What a person sees who does not know the keys yet.
    const first = ['imgcapture', 'behind', '-o', 'img']
    const unknown = [await lab.ask(first)]
    unknown.push(await lab.ask([...first, '--accept-jump-hostkey', gate.hostKey]))
    const keys = ['--accept-jump-hostkey', gate.hostKey, '--accept-hostkey', hostKey]
    const check = await output(...first, '--check', ...keys)
    const said = await output(...first, '-V')
    const machine = await told()
    const image = await lab.filesOf('img:1')
    await output('mkdef', '-t', 'osimage', '-o', 'ram', 'provmethod=diskless', 'scrub=disk-keys:keep')
    const ramSaid = await output('imgcapture', 'behind', '-t', 'diskless', '-o', 'ram', '-V')
    const ramMachine = await told()
    const ramImage = await lab.filesOf('ram:1')
    await golden.powerOff()
    found = {
      ...{ unknown, keys, check, said, image, files: compareTrees(machine, image) },
      details: await details('img:1'),
      ram: { said: ramSaid, image: ramImage, files: compareTrees(ramMachine, ramImage) },
      nodeset: [
        await lab.ask(['nodeset', 'n1', 'osimage=img']),
        await lab.ask(['nodeset', 'n1', 'osimage=ram']),
      ],
    }
    parts.done += 1
  })
  const folders = ['opt', 'home', 'home/inner', 'opt/deep', 'srv']

  test('both ssh host keys are shown before they are trusted', () => {
    expect(found.unknown.map(({ code }) => code)).toEqual([1, 1])
    const [jump, host] = found.unknown.map(({ stderr }) => stderr)
    expect(jump).toContain('behind: the capture failed (ssh host key of the jump host is not known yet; ')
    expect(jump).toContain(`: it presents ${found.keys[1]};`)
    expect(jump).toContain(`--accept-jump-hostkey ${found.keys[1]}`)
    expect(host).toContain('behind: the capture failed (ssh host key is not known yet; ')
    expect(host).toContain(`: it presents ${found.keys[3]};`)
    expect(host).toContain(`--accept-hostkey ${found.keys[3]}`)
  })

  test('the look at it names what cannot be installed yet, and the key that crypttab names', () => {
    for (const said of [found.check, found.said])
      for (const why of [
        'encryption of partition 3 of /dev/vda',
        'btrfs file systems',
        'disk-keys:drop  1 file left out (or keep)',
        '/root/srv.luks',
      ])
        expect(said).toContain(why)
    expect(found.details.notDeployable).toEqual([
      'encryption of partition 3 of /dev/vda',
      'btrfs file systems',
    ])
  })

  test('all files of every subvolume and of the encrypted file system are in the image as they are on the machine', () => {
    expectCopy(found.files, { out: /^root\/srv\.luks$/ })
    expect(found.files.missing).toContain('root/srv.luks')
    expect(found.said).toMatch(/left out 1: scrub: disk-keys:drop/)
    for (const folder of folders) expectTree(found.image, folder)
    expect(found.image.get('home/admin/.ssh/authorized_keys')?.facts).toMatch(/^600\|1000\|1000$/)
  })

  test('the layout says what the disk is made of, and nothing that opens it', () => {
    const { disks, crypttab, ...rest } = found.details.layout
    expect([rest.arrays, rest.groups]).toEqual([undefined, undefined])
    const [, system, secret] = disks[0]!.partitions
    expect(system!.filesystem).toMatchObject({ type: 'btrfs', label: 'system', mountpoint: '/' })
    const subvolumes = system!.filesystem!.subvolumes!.map(({ path, mountpoint }) => [path, mountpoint])
    expect(subvolumes.sort()).toEqual([
      ['@', '/'],
      ['@/opt/deep', undefined], // not mounted by itself
      ['@home', '/home'],
      ['@home/inner', undefined],
    ])
    expect(secret!.crypt).toMatchObject({
      ...{ format: 'luks2', label: 'secret', path: '/dev/mapper/srv' },
      filesystem: { type: 'ext4', label: 'srv', mountpoint: '/srv' },
    })
    expect(crypttab).toMatch(/^srv UUID=\S+ \/root\/srv\.luks luks$/m)
    expect(JSON.stringify(secret)).not.toMatch(/salt|digest|keyslot/i)
  })

  test('to be booted in RAM: without caches, logs and boot loader, and with the key where its osimage keeps it', () => {
    const { said, files, image } = found.ram
    expect(said).toContain('behind: captured as ram:1')
    expect(said).toMatch(/captured from behind \(diskless\)/)
    expect(said).toMatch(/left out \d+: of no use to an image that is booted in RAM/)
    expect(said).toContain('disk-keys:keep  1 file taken (or drop)')
    expectCopy(files, { out: /^boot\/(initrd\.img-.+|grub\/.+)$|^var\/(cache|log)\/.+/ })
    expect(image.get('root/srv.luks')).toMatchObject({ facts: '400|0|0', size: '64' })
    for (const folder of folders) expectTree(image, folder)
  })

  test('to install either is refused, with all the reasons', () => {
    const [img, ram] = found.nodeset
    expect([img!.code, ram!.code]).toEqual([1, 1])
    expect(img!.stderr).toMatch(/^n1: the image cannot be installed yet/)
    for (const why of found.details.notDeployable) expect(img!.stderr).toContain(why)
    expect(ram!.stderr).toMatch(/^n1: a diskless image cannot be booted yet.*ram:1/s)
  })
})
