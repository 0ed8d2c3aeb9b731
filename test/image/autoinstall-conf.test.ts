// autoinstallscript.conf as si_prepareclient writes it: what becomes of each of its words, and which are refused.
import { describe, expect, test } from 'vitest'
import type { Fault } from '../../src/fault.ts'
import { UserError } from '../../src/fault.ts'
import { parseAutoinstallConf } from '../../src/image/autoinstall-conf.ts'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'

const MIB = 1 << 20
const GIB = 2 ** 30
const uuid = (n: number) => `0000000${n % 10}-1111-4222-8333-444444444444`
const contentBytes = 1_000_000_000
const room = Math.ceil((contentBytes * 1.3 + GIB) / MIB) // MiB of a partition whose size is open

function parse(lines: string[]) {
  let made = 0
  const text = `<!-- made by si_prepareclient -->\n<config>\n${lines.join('\n')}\n</config>\n`
  const file = parseAutoinstallConf(text, { name: 'conf', contentBytes, makeUuid: () => uuid(made++) })
  expect(parseLayout(renderLayout(file.layout))).toEqual(file.layout) // images keep it so
  return file
}
const disk = (more: string, ...parts: string[]) => [`<disk ${more}>`, ...parts, '</disk>']
const gpt = (...parts: string[]) => disk('dev="/dev/sda" label_type="gpt" unit_of_measurement="MB"', ...parts)
const msdos = (...parts: string[]) =>
  disk('dev="/dev/sda" label_type="msdos" unit_of_measurement="MB"', ...parts)
const shares = (...parts: string[]) =>
  disk('dev="/dev/sda" label_type="msdos" unit_of_measurement="%"', ...parts)
/** As si_prepareclient writes it; what `more` says counts instead. */
function part(num: number, size: number | '*', more = '') {
  const usual = ['p_type="primary"', 'p_name="-"', 'flags="-"']
  const words = usual.filter((word) => !more.includes(`${word.split('=')[0]}=`))
  return `<part  num="${num}" size="${size}" ${[...words, more].join(' ')} />`
}
let lines = 0
function fsinfo(words: string) {
  lines += 10
  return `<fsinfo  line="${lines}" ${words} />`
}
const root = (device = '/dev/sda1', more = '') =>
  fsinfo(`real_dev="${device}" mp="/" fs="ext4" options="defaults"${more}`)
const all = [gpt(part(1, 1000)), root()].flat()

/** MiB from the start of the disk, and how many. */
const spans = (lines: string[]) =>
  parse(lines).layout.disks.map(({ partitions }) =>
    partitions.map(({ number, start, size }) => [number, (start * 512) / MIB, (size * 512) / MIB]),
  )
const types = (lines: string[]) => parse(lines).layout.disks[0]!.partitions.map(({ type }) => type)

describe('where partitions lie', () => {
  const extended = 'p_type="extended"'
  const logical = 'p_type="logical"'
  const cases: [name: string, lines: string[], spans: number[][]][] = [
    [
      'one after the other',
      [...gpt(part(1, 100), part(2, 50.5), part(3, 7)), root()],
      [
        [1, 1, 100],
        [2, 101, 51],
        [3, 152, 7],
      ],
    ],
    [
      'one takes the rest: room for the content',
      [...gpt(part(1, 100), part(2, '*')), root('/dev/sda2')],
      [
        [1, 1, 100],
        [2, 101, room],
      ],
    ],
    [
      'numbers with gaps, in another order',
      [...gpt(part(7, 100), part(2, 50)), root('/dev/sda7')],
      [
        [2, 101, 50],
        [7, 1, 100],
      ],
    ],
    [
      'logical ones lie in the extended one, each behind its table',
      [...msdos(part(1, 100), part(2, 1000, extended), part(5, 200, logical), part(6, 300, logical)), root()],
      [
        [1, 1, 100],
        [2, 101, 1000],
        [5, 102, 200],
        [6, 303, 300],
      ],
    ],
    [
      'an extended one that just held them grows by their tables',
      [
        ...msdos(
          part(1, 100),
          part(2, 500, extended),
          part(5, 200, logical),
          part(6, 300, logical),
          part(3, 10),
        ),
        root(),
      ],
      [
        [1, 1, 100],
        [2, 101, 502],
        [3, 603, 10],
        [5, 102, 200],
        [6, 303, 300],
      ],
    ],
    [
      'the last logical one takes the rest of the extended one',
      [...msdos(part(1, 100), part(2, 500, extended), part(5, 200, logical), part(6, '*', logical)), root()],
      [
        [1, 1, 100],
        [2, 101, 500],
        [5, 102, 200],
        [6, 303, 298],
      ],
    ],
    [
      'both take the rest',
      [...msdos(part(1, 100), part(2, '*', extended), part(5, 200, logical), part(6, '*', logical)), root()],
      [
        [1, 1, 100],
        [2, 101, 202 + room],
        [5, 102, 200],
        [6, 303, room],
      ],
    ],
    [
      'shares of a disk of 8 GiB',
      [...shares(part(1, 25), part(2, '*')), root()],
      [
        [1, 1, 2048],
        [2, 2049, 6142],
      ],
    ],
    [
      'all of it in shares',
      [...shares(part(1, 50), part(2, 50)), root()],
      [
        [1, 1, 4095],
        [2, 4096, 4095],
      ],
    ],
  ]
  test.each(cases)('%s', (_, lines, expected) => {
    expect(spans(lines)).toEqual([expected])
    const [{ bytes, partitions }] = parse(lines).layout.disks as [
      ReturnType<typeof parse>['layout']['disks'][0],
    ]
    for (const { start, size } of partitions) expect((start + size) * 512).toBeLessThanOrEqual(bytes - MIB)
    const flat = partitions.filter(({ number, type }) => number > 4 || !['5', 'f'].includes(type))
    for (const a of flat)
      for (const b of flat)
        if (a !== b) expect(a.start + a.size <= b.start || b.start + b.size <= a.start).toBe(true)
  })

  test('in other units: by 1024, so that what was there fits', () => {
    const mib = (unit: string, size: number) =>
      spans([
        ...disk(`dev="/dev/sda" label_type="gpt" unit_of_measurement="${unit}"`, part(1, size)),
        root(),
      ])[0]![0]![2]
    expect([
      mib('GB', 3),
      mib('GiB', 2.5),
      mib('TB', 1),
      mib('kB', 2048),
      mib('B', 3 * MIB),
      mib('s', 4096),
    ]).toEqual([...[3072, 2560, MIB, 2, 3, 2]])
  })

  test('several disks, one whose name ends in a digit', () => {
    const lines = [
      ...gpt(part(1, 100)),
      ...disk('dev="/dev/nvme0n1" label_type="msdos"', part(1, 200)), // MB when nothing is said
      root(),
      fsinfo('real_dev="/dev/nvme0n1p1" mp="/srv" fs="xfs" options="noatime" dump="1" pass="2"'),
    ]
    const { disks, fstab } = parse(lines).layout
    expect(
      disks.map(({ path, label, partitions }) => [path, label, partitions[0]!.filesystem?.mountpoint]),
    ).toEqual([
      ['/dev/sda', 'gpt', '/'],
      ['/dev/nvme0n1', 'dos', '/srv'],
    ])
    expect(fstab.split('\n')[1]).toBe(
      `UUID=${disks[1]!.partitions[0]!.filesystem!.uuid} /srv xfs noatime 1 2`,
    )
  })
})

describe('what partitions are', () => {
  const [EFI, LINUX, SWAP] = [
    'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
    '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
    '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F',
  ]
  const on2 = (words: string) => fsinfo(`real_dev="/dev/sda2" ${words}`)
  const swap = on2('mp="swap" fs="swap"')
  const esp = on2('mp="/boot/efi" fs="vfat"')
  const cases: [
    name: string,
    second: string,
    more: string[],
    gpt: string | undefined,
    dos: string | undefined,
  ][] = [
    ['nothing said', '', [], LINUX, '83'],
    ['swap by fstab', '', [swap], SWAP, '82'],
    ['swap by its flag', 'flags="swap"', [], SWAP, '82'],
    ['mounted on /boot/efi', '', [esp], EFI, 'ef'],
    ['esp', 'flags="boot, esp"', [esp], EFI, 'ef'],
    ['boot, nothing mounted', 'flags="boot"', [], EFI, '83'], // of a dos disk it is another thing
    ['bios_grub', 'flags="bios_grub"', [], '21686148-6449-6E6F-744E-656564454649', undefined],
    ['prep by its flag', 'flags="boot,prep"', [], undefined, '41'],
    ['prep alone', 'flags="prep"', [], '9E1A2D38-C612-4316-AA26-8B49521E5A8B', '41'],
    ['prep as xCAT says it', 'id="41"', [], '9E1A2D38-C612-4316-AA26-8B49521E5A8B', '41'],
    ['an id', 'id="0C" flags="lba"', [], undefined, 'c'],
    ['an id among the flags', 'flags="type=07"', [], undefined, '7'],
    ['raid', 'flags="raid"', [], 'A19D880F-05FC-4D3B-A006-743F0F84911E', 'fd'],
    ['lvm', 'flags="lvm"', [], 'E6D6D379-F507-44C2-A23C-238F2A3DF928', '8e'],
    ['msftdata', 'flags="msftdata"', [], 'EBD0A0A2-B9E5-4433-87C0-68B6B72699C7', undefined],
    ['vfat with lba', 'flags="lba"', [on2('mp="/dos" fs="vfat"')], undefined, 'c'],
    ['extended', 'p_type="extended"', [], undefined, '5'],
    ['extended with lba', 'p_type="extended" flags="lba"', [], undefined, 'f'],
  ]
  test.each(cases)('%s', (_, second, more, ofGpt, ofDos) => {
    for (const [make, type] of [
      [gpt, ofGpt],
      [msdos, ofDos],
    ] as const) {
      const lines = [...make(part(1, 500), part(2, 100, second)), root(), ...more]
      if (type === undefined) expect(() => types(lines)).toThrow(UserError)
      else expect(types(lines)[1]).toBe(type)
    }
  })

  test('names, attributes and the active partition are kept', () => {
    const named = parse([...gpt(part(1, 500, 'p_name="root a" flags="legacy_boot,hidden"')), root()])
    expect(named.layout.disks[0]!.partitions[0]).toMatchObject({
      name: 'root a',
      attrs: 'LegacyBIOSBootable RequiredPartition',
    })
    const active = parse([...msdos(part(1, 500, 'flags="boot"'), part(2, 9)), root()])
    expect(active.layout.disks[0]!.partitions.map(({ bootable }) => bootable)).toEqual([true, undefined])
    expect([active.firmware, parse([...msdos(part(1, 500), part(2, 9)), root(), esp]).firmware]).toEqual([
      'bios',
      'uefi',
    ])
  })
})

describe('file systems and fstab', () => {
  test('UUID, label, PARTUUID, swap, what is no device, comments: in the order of their numbers', () => {
    const own = '0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a'
    const at = (n: number, words: string) => `<fsinfo line="${n}" ${words}/>`
    const { layout } = parse([
      ...gpt(part(1, 500), part(2, 100), part(3, 100), part(4, 100), part(5, 100)),
      at(60, 'real_dev="tmpfs" mp="/tmp" fs="tmpfs" options="size=1G" dump="0" pass="0"'),
      at(10, 'comment="# &lt;file system&gt; &amp; more"'),
      at(
        20,
        `real_dev="/dev/sda1" mount_dev="UUID=${own}" mp="/" fs="ext4" options="errors=remount-ro" dump="1" pass="1"`,
      ),
      at(30, 'real_dev="/dev/sda2" mount_dev="LABEL=data" mp="/srv" fs="ext3"'),
      at(40, 'real_dev="/dev/sda3" mp="swap" fs="swap" options="pri=5"'),
      at(
        50,
        'real_dev="/dev/sda4" mount_dev="PARTUUID=aaaaaaaa-1111-4222-8333-444444444444" mp="/boot/efi" fs="vfat" mkfs_opts="-F 32"',
      ),
      at(
        55,
        'real_dev="/dev/sda5" mount_dev="/dev/sda5" mp="/old" fs="ext4" options="ro,noauto" format="no"',
      ),
      at(70, 'real_dev="/dev/cdrom" mp="/media/cd" fs="auto" options="user,noauto" format="no"'),
    ])
    const [a, b, c, d, e] = layout.disks[0]!.partitions
    expect([a, b, c, d, e].map((each) => each!.filesystem)).toEqual([
      { type: 'ext4', uuid: own, mountpoint: '/' },
      { type: 'ext3', uuid: expect.stringMatching(/^[0-9a-f-]{36}$/), label: 'data', mountpoint: '/srv' },
      { type: 'swap', uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      {
        type: 'vfat',
        uuid: expect.stringMatching(/^[0-9A-F]{4}-[0-9A-F]{4}$/),
        mountpoint: '/boot/efi',
        version: 'FAT32',
      },
      undefined, // and nothing is made on it
    ])
    expect(d!.uuid).toBe('AAAAAAAA-1111-4222-8333-444444444444')
    expect(layout.fstab).toBe(
      [
        '# <file system> & more',
        `UUID=${own} / ext4 errors=remount-ro 1 1`,
        `UUID=${b!.filesystem!.uuid} /srv ext3 defaults 0 0`,
        `UUID=${c!.filesystem!.uuid} swap swap pri=5 0 0`,
        `UUID=${d!.filesystem!.uuid} /boot/efi vfat defaults 0 0`,
        '/dev/sda5 /old ext4 ro,noauto 0 0',
        'tmpfs /tmp tmpfs size=1G 0 0',
        '/dev/cdrom /media/cd auto user,noauto 0 0',
        '',
      ].join('\n'),
    )
  })

  test('what stands beside disks and says nothing of them is passed over', () => {
    const beside = [
      '<boel devstyle="udev"/>',
      '<bootloader flavor="grub2"><target dev="/dev/sda"/></bootloader>',
    ]
    expect(parse([...beside, ...all]).layout.disks).toHaveLength(1)
  })
})

describe('refused, with the line and the word', () => {
  const two = (more: string) => fsinfo(`real_dev="/dev/sda2" mp="/srv" fs="ext4" ${more}`)
  const gpt2 = gpt(part(1, 500), part(2, 100))
  const ofGpt2 = (more: string) => [...gpt(part(1, 500), part(2, 100, more)), root()]
  const ofDos2 = (more: string) => [...msdos(part(1, 500), part(2, 100, more)), root()]
  const twice = '<fsinfo line="55555" comment="a"/>'
  const cases: [name: string, lines: string[], line: number, error: string, what: string | RegExp][] = [
    [
      'an element where it does not belong',
      ['<lv name="x" size="1"/>', ...all],
      3,
      'cannot be taken over',
      '<lv>',
    ],
    ['lvm_group', ofGpt2('lvm_group="vg0"'), 5, 'the group is not said', 'lvm_group="vg0"'],
    ['raid_dev', ofGpt2('raid_dev="/dev/md0"'), 5, 'the array is not said', 'raid_dev="/dev/md0"'],
    ['an element', ['<zfs/>', ...all], 3, 'cannot be taken over', '<zfs>'],
    ['a part without a disk', [part(1, 1), ...all], 3, 'cannot be taken over', '<part>'],
    [
      'a word of a disk',
      [...disk('dev="/dev/sda" label_type="gpt" chs="1"', part(1, 9)), root()],
      3,
      'cannot be taken over',
      '<disk chs="1">',
    ],
    ['a word of a partition', ofGpt2('uuid="1"'), 5, 'cannot be taken over', '<part uuid="1">'],
    [
      'a word of a mount',
      [...gpt2, root('/dev/sda1', ' fsck="x"')],
      7,
      'cannot be taken over',
      '<fsinfo fsck="x">',
    ],
    ['a line twice', [...all, twice, twice], 8, 'a line stands twice', 'line="55555"'],
    [
      'a line twice in other digits',
      [...all, twice, twice.replace('5', '05')],
      8,
      'a line stands twice',
      'line="055555"',
    ],
    ['a line without a number', [...all, '<fsinfo comment="#"/>'], 7, 'not a number of a line', 'line=""'],
    [
      'mkfs_opts',
      [...gpt2, root(), two('mkfs_opts="-b 1024"')],
      8,
      'options of mkfs cannot be taken over',
      'mkfs_opts="-b 1024"',
    ],
    [
      'FAT size of ext4',
      [...gpt2, root(), two('mkfs_opts="-F 32"')],
      8,
      'options of mkfs cannot be taken over',
      'mkfs_opts="-F 32"',
    ],
    [
      'format="no" and mounted',
      [...gpt2, root(), two('format="no"')],
      8,
      'a clone would wait for a file system that is not made',
      '/dev/sda2 with format="no"',
    ],
    ['format="maybe"', [...gpt2, root(), two('format="maybe"')], 8, 'neither yes nor no', 'format="maybe"'],
    [
      '/ with format="no"',
      [...gpt2, root('/dev/sda1', ' format="no"').replace('defaults', 'noauto')],
      2,
      'no partition is mounted on /',
      '/dev/sda1',
    ],
    [
      'a file system on no partition',
      [...gpt2, root(), two('').replace('sda2', 'sdb1')],
      8,
      'no partition is said to be there',
      '/dev/sdb1',
    ],
    [
      'a file system on no device',
      [...gpt2, root(), two('mount_dev="LABEL=x"').replace('/dev/sda2', '')],
      8,
      'the device of a file system is not said',
      'LABEL=x',
    ],
    [
      'fs="auto"',
      [...gpt2, root(), two('').replace('ext4', 'auto')],
      8,
      'not a file system that can be made',
      'fs="auto"',
    ],
    [
      'a label too long',
      [...gpt2, root(), two(`mount_dev="LABEL=${'x'.repeat(37)}"`)],
      8,
      'not the name of a file system',
      /^LABEL=x+$/,
    ],
    ['an unknown flag', ofGpt2('flags="boot,palo"'), 5, 'flag cannot be taken over', 'palo'],
    ['the same of msdos', ofDos2('flags="hidden"'), 5, 'flag cannot be taken over', 'hidden'],
    ['lba of no vfat', ofDos2('flags="lba"'), 5, 'flag cannot be taken over', 'lba'],
    ['flags of two kinds', ofGpt2('flags="swap,raid"'), 5, 'flags exclude each other', 'swap raid'],
    [
      'boot on ext4',
      [...gpt(part(1, 500, 'flags="boot"')), root()],
      4,
      'boot is the flag of an EFI system partition',
      '/dev/sda1 with ext4',
    ],
    ['an id of a GPT disk', ofGpt2('id="8e"'), 5, 'no type of a GPT partition', 'id="8e"'],
    ['an id that is none', ofDos2('id="xyz"'), 5, 'not a type of a partition', 'id="xyz"'],
    ['no size', ofDos2('').map((each) => each.replace('size="100"', 'size="much"')), 5, 'not a size', 'much'],
    ['size zero', [...gpt(part(1, 0)), root()], 4, 'not a size', '0'],
    [
      'no room in shares',
      [...shares(part(1, 60), part(2, 40), part(3, '*')), root()],
      6,
      'no room is left',
      'size="*"',
    ],
    [
      'no room in the extended one',
      [
        ...msdos(
          part(1, 100),
          part(2, 200, 'p_type="extended"'),
          part(5, 199, 'p_type="logical"'),
          part(6, '*', 'p_type="logical"'),
        ),
        root(),
      ],
      7,
      'no room is left',
      'size="*"',
    ],
    [
      'two take the rest',
      [...gpt(part(1, '*'), part(2, '*')), root()],
      5,
      'two partitions take the rest',
      'size="*"',
    ],
    [
      'a number twice',
      [...gpt(part(1, 5), part(1, 5)), root()],
      5,
      'a partition number stands twice',
      /^num="1"/,
    ],
    ['a number too large', [...gpt(part(129, 5)), root()], 4, 'not a partition number', '129'],
    [
      'a logical one first',
      [...msdos(part(5, 5, 'p_type="logical"'), part(1, 5)), root()],
      4,
      'no extended partition stands before the logical one',
      /logical/,
    ],
    [
      'a primary one with number 5',
      [...msdos(part(5, 5)), root('/dev/sda5')],
      4,
      'logical partitions are numbered from 5 on, others to 4',
      /primary/,
    ],
    [
      'two extended ones',
      [...msdos(part(1, 5, 'p_type="extended"'), part(2, 5, 'p_type="extended"')), root()],
      5,
      'a second extended partition',
      /extended/,
    ],
    [
      'an extended one of GPT',
      [...gpt(part(1, 5, 'p_type="extended"')), root()],
      4,
      'GPT has primary partitions alone',
      /extended/,
    ],
    [
      'a file system on the extended one',
      [...msdos(part(1, 5, 'p_type="extended"')), root()],
      4,
      'an extended partition holds no file system',
      '/dev/sda1',
    ],
    [
      'a kind of partition',
      [...msdos(part(1, 5, 'p_type="third"')), root()],
      4,
      'not a kind of partition',
      'p_type="third"',
    ],
    [
      'another table',
      [...disk('dev="/dev/sda" label_type="bsd"', part(1, 9)), root()],
      3,
      'partition table cannot be cloned',
      'bsd',
    ],
    [
      'another unit',
      [...disk('dev="/dev/sda" label_type="gpt" unit_of_measurement="cyl"', part(1, 9)), root()],
      3,
      'not a unit of sizes',
      'cyl',
    ],
    ['no disk', [root()], 2, 'no disk', '<config>'],
    ['nothing on /', [...gpt2, two('')], 2, 'no partition is mounted on /', '/dev/sda2'],
  ]
  test.each(cases)('%s', (_, lines, at, error, what) => {
    let fault: Fault | undefined
    try {
      parse(lines)
    } catch (thrown) {
      if (!(thrown instanceof UserError)) throw thrown
      fault = thrown.fault
    }
    expect(fault).toEqual({
      error,
      what: typeof what === 'string' ? what : expect.stringMatching(what),
      allowed: 'a layout file: --layout FILE',
      object: `conf:${at}`,
    })
  })
})
