import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runPhase } from './run-phase.ts'

const ROOT_UUID = '11111111-2222-4333-8444-555555555555'
const FEATURES = 'none,has_journal,ext_attr,dir_index,filetype,extent,64bit,sparse_super,metadata_csum'

const filesystems = 'nodev\tproc\n\text4\n\tvfat\n'
const vda = {
  'dev/vda': '',
  'sys/block/vda/size': `${2 ** 24}\n`,
  'sys/block/vda/ro': '0\n',
  'sys/block/vda/queue/logical_block_size': '512\n',
  'proc/filesystems': filesystems,
}

describe('check', () => {
  const bios = { plan: 'bios-one-disk' }
  const table: [string, Record<string, string>, RegExp][] = [
    ['no such disk', { 'proc/filesystems': filesystems }, /\/dev\/vda: no such disk/],
    [
      'another size than planned',
      { ...vda, 'sys/block/vda/size': '100\n' },
      /\/dev\/vda has 51200 bytes, the plan was made for 8589934592/,
    ],
    ['other sectors', { ...vda, 'sys/block/vda/queue/logical_block_size': '4096\n' }, /sectors of 512 bytes/],
    ['read-only', { ...vda, 'sys/block/vda/ro': '1\n' }, /\/dev\/vda is read-only/],
    ['mounted', { ...vda, 'proc/mounts': '/dev/vda1 /mnt ext4 rw 0 0\n' }, /\/dev\/vda is in use/],
    ['swap on it', { ...vda, 'proc/swaps': '/dev/vda2 partition 1 0 -2\n' }, /\/dev\/vda is in use/],
    ['part of an array', { ...vda, 'sys/block/vda/vda1/holders/md0/x': '' }, /\/dev\/vda is held by md0/],
    ['no driver for ext4', { ...vda, 'proc/filesystems': '\tvfat\n' }, /the kernel cannot mount ext4/],
    ['the other firmware', { ...vda, 'sys/firmware/efi/x': '' }, /started by UEFI/],
  ]
  test.each(table)('%s: stops before anything is touched', async (_, files, reason) => {
    const { code, ran, state } = await runPhase('10-check.sh', { ...bios, files })
    expect(code).toBe(1)
    expect(ran).toEqual([])
    expect(state('reason')).toMatch(reason)
  })
  test('a machine as planned passes', async () => {
    expect(await runPhase('10-check.sh', { ...bios, files: vda })).toMatchObject({ code: 0, ran: [] })
  })
})

describe('disks', () => {
  test('BIOS, one disk', async () => {
    const { code, ran } = await runPhase('30-disks.sh', { plan: 'bios-one-disk', files: vda })
    expect(code).toBe(0)
    expect(ran).toEqual([
      'wipefs --quiet --all --force /dev/vda',
      'sfdisk --quiet --wipe always --wipe-partitions always /dev/vda',
      'mkfs.vfat -i A1B2C3D4 -n EFI SYSTEM /dev/vda2',
      `mke2fs -q -F -t ext4 -U ${ROOT_UUID} -L root -E nodiscard -O ${FEATURES} /dev/vda3`,
      'mkdir -p /dev/disk/by-uuid',
      'ln -sf /dev/vda2 /dev/disk/by-uuid/A1B2-C3D4',
      'mkdir -p /dev/disk/by-uuid',
      `ln -sf /dev/vda3 /dev/disk/by-uuid/${ROOT_UUID}`,
      'mkdir -p /target',
      'mount -t ext4 -o defaults /dev/vda3 /target',
      'mkdir -p /target/boot/efi',
      'mount -t vfat -o quiet,umask=0077 /dev/vda2 /target/boot/efi',
    ])
  })
  test('NVMe partitions have a p', async () => {
    const { ran } = await runPhase('30-disks.sh', { plan: 'efi-nvme-shrunk' })
    expect(ran).toContain('mkfs.vfat -i A1B2C3D4 -n EFI SYSTEM /dev/nvme0n1p2')
    expect(ran).toContain('mount -t ext4 -o defaults /dev/nvme0n1p3 /target')
  })
  test('swap is made and not mounted', async () => {
    const { ran } = await runPhase('30-disks.sh', { plan: 'bios-named-disk-swap' })
    expect(ran).toContain('mkswap -U 99999999-8888-4777-8666-555555555555 -L  /dev/sdb4')
    expect(ran.filter((line) => line.startsWith('mount'))).toHaveLength(2)
  })
  test('no layout: stops before anything is touched', async () => {
    const { code, ran } = await runPhase('30-disks.sh', { plan: 'x', planText: 'disk /dev/vdz 1 512\n' })
    expect({ code, ran }).toEqual({ code: 1, ran: [] })
  })
})

describe('identity', () => {
  const target = {
    'target/etc/hostname': 'golden\n',
    'target/etc/hosts':
      '# golden is here\n127.0.0.1\tlocalhost\n127.0.1.1\tgolden.example.org golden\n10.0.0.9 golden-db other\n',
    'target/etc/machine-id': `${'0'.repeat(32)}\n`,
    'target/etc/ssh/ssh_host_rsa_key': 'old',
    'target/etc/ssh/ssh_host_rsa_key.pub': 'old',
    'target/var/lib/dhcp/dhclient.eth0.leases': 'old',
    'target/etc/udev/rules.d/70-persistent-net.rules': 'old',
  }
  test('everything that is the golden client’s own goes, host keys of the same types come', async () => {
    const { code, ran } = await runPhase('60-identity.sh', { plan: 'bios-one-disk', files: target })
    expect(code).toBe(0)
    expect(ran).toContain('rm -f /target/var/lib/dhcp/dhclient.eth0.leases')
    expect(ran).toContain('rm -f /target/etc/udev/rules.d/70-persistent-net.rules')
    expect(ran).toContain('rm -f /target/etc/ssh/ssh_host_rsa_key')
    expect(ran.filter((line) => line.startsWith('chroot'))).toEqual([
      'chroot /target /usr/bin/ssh-keygen -q -t ed25519 -N  -C root@n1 -f /etc/ssh/ssh_host_ed25519_key',
      'chroot /target /usr/bin/ssh-keygen -q -t ecdsa -N  -C root@n1 -f /etc/ssh/ssh_host_ecdsa_key',
    ])
  })

  const noKeys = (text: string) => text.replace(/^hostkey .*\n/gm, '')
  const plan = noKeys(readFileSync(join(import.meta.dirname, '../fixtures/plans/bios-one-disk.plan'), 'utf8'))
  const written = async (files: Record<string, string>, prepare?: (root: string) => void) => {
    const found: Record<string, string> = {}
    // The runner removes its folder at the end: the phase is followed by a look at what it left.
    const { code, said } = await runPhase(
      '60-identity.sh',
      { plan: 'x', planText: plan, files, real: true },
      (root) => {
        prepare?.(root)
        const tail =
          'for f in hosts hostname machine-id fstab; do echo "=$f"; cat "$TARGET/etc/$f"; done >&2; ls -l "$TARGET/etc" >&2\n'
        const lib = join(root, 'installer/lib.sh')
        writeFileSync(lib, `${readFileSync(lib, 'utf8')}\ntrap '${tail.replaceAll("'", '')}' EXIT\n`)
      },
    )
    for (const [, name, text] of said.matchAll(/^=(\S+)\n([^=]*?)(?==|total )/gms)) found[name!] = text!
    return { code, found, said }
  }
  test('names: its own entry in hosts, no other is touched', async () => {
    const { code, found } = await written(target)
    expect(code).toBe(0)
    expect(found.hosts).toBe(
      '# golden is here\n127.0.0.1\tlocalhost\n127.0.1.1\tn1.example.org n1\n10.0.0.9 golden-db other\n',
    )
    expect(found.hostname).toBe('n1\n')
    expect(found['machine-id']).toMatch(/^[0-9a-f]{12}4[0-9a-f]{3}a[0-9a-f]{15}\n$/)
    expect(found.fstab).toContain(`UUID`)
  })
  test('no hosts file at all: one is made', async () => {
    const { found } = await written({ 'target/etc/hostname': 'golden\n' })
    expect(found.hosts).toBe('127.0.0.1\tlocalhost\n127.0.1.1\tn1\n')
  })
  const withRule = (rules: Record<string, string>) =>
    Object.entries(rules).reduce(
      (text, [name, rule]) => text.replace(new RegExp(`^scrub ${name} .*$`, 'm'), `scrub ${name} ${rule}`),
      plan,
    )
  /** What the phase leaves of some files under /target, and its own words. */
  const leftBy = async (files: Record<string, string>, rules: Record<string, string>, names: string[]) => {
    const left: Record<string, string> = {}
    const planText = withRule(rules)
    const { code, said } = await runPhase(
      '60-identity.sh',
      { plan: 'x', planText, files, real: true },
      (root) => {
        const lib = join(root, 'installer/lib.sh')
        const look = names.map(
          (name) =>
            `echo "=${name}"; cat "$TARGET/${name}" 2>&1 || true; stat -c "mode %a" "$TARGET/${name}" || true;`,
        )
        writeFileSync(
          lib,
          `${readFileSync(lib, 'utf8')}\ntrap 'mkdir -p $ROOT/tools; { ${look.join(' ')} echo "=end"; } >&2' EXIT\n`,
        )
      },
    )
    for (const [, name, text] of said.matchAll(/^=(\S+)\n([\s\S]*?)(?=^=)/gm)) left[name!] = text!
    return { code, left, said }
  }

  test('what the image keeps stays as it came', async () => {
    const rules = {
      'machine-id': 'keep',
      'ssh-host-keys': 'keep',
      'dhcp-leases': 'keep',
      'persistent-net': 'keep',
    }
    const files = { ...target, 'target/etc/ssh/ssh_host_rsa_key.pub': 'ssh-rsa AAAA golden\n' }
    const names = [
      'etc/machine-id',
      'etc/ssh/ssh_host_rsa_key',
      'var/lib/dhcp/dhclient.eth0.leases',
      'etc/udev/rules.d/70-persistent-net.rules',
    ]
    const { code, left } = await leftBy(files, rules, names)
    expect(code).toBe(0)
    expect(left['etc/machine-id']).toContain('0'.repeat(32))
    for (const name of names.slice(1)) expect(left[name]).toMatch(/^old/)
    const kept = await runPhase('60-identity.sh', { plan: 'x', planText: withRule(rules), files, real: true })
    expect(kept.state('receipt/hostkeys')).toBe('ssh-rsa AAAA golden\n')
  })

  test('a machine id that is dropped is not there: the clone makes one at its first boot', async () => {
    const { left } = await leftBy(target, { 'machine-id': 'drop' }, ['etc/machine-id'])
    expect(left['etc/machine-id']).toMatch(/No such file/)
  })

  const connection =
    '[connection]\nid=lan\nuuid=11111111-2222-3333-4444-555555555555\ntype=ethernet\n\n[ethernet]\nmac-address=52:54:00:00:00:01\ncloned-mac-address=52:54:00:00:00:09\nmtu=9000\n'
  test('connections get a UUID of their own and name no card by its address', async () => {
    const files = {
      'target/etc/NetworkManager/system-connections/lan.nmconnection': connection,
      'target/etc/sysconfig/network-scripts/ifcfg-eth0':
        'HWADDR=52:54:00:00:00:01\nUUID="x"\nBOOTPROTO=dhcp\n',
      'target/etc/network/interfaces': 'iface eth0 inet dhcp\n  hwaddress ether 52:54:00:00:00:01\n',
    }
    const names = Object.keys(files).map((name) => name.replace('target/', ''))
    const { code, left } = await leftBy(files, {}, names)
    expect(code).toBe(0)
    expect(left[names[0]!]).toMatch(
      /^\[connection\]\nid=lan\nuuid=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}\ntype=ethernet\n\n\[ethernet\]\nmtu=9000\nmode 644\n$/,
    )
    expect(left[names[0]!]).not.toContain('11111111')
    expect(left[names[1]!]).toBe('DEVICE=eth0\nBOOTPROTO=dhcp\nmode 644\n')
    expect(left[names[2]!]).toBe('iface eth0 inet dhcp\nmode 644\n')
    const kept = await leftBy(files, { 'network-connections': 'keep' }, names)
    expect(kept.left[names[0]!]).toBe(`${connection}mode 644\n`)
  })

  test('shadow made anew: every user, no password, and no account that is locked for keys', async () => {
    const files = {
      'target/etc/passwd': 'root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n',
      'target/etc/group': 'root:x:0:\nshadow:x:42:\nann:x:1000:bob\n',
    }
    const { left } = await leftBy(files, { shadow: 'regenerate' }, ['etc/shadow', 'etc/gshadow'])
    expect(left['etc/shadow']).toBe('root:*:19000:0:99999:7:::\nann:*:19000:0:99999:7:::\nmode 640\n')
    expect(left['etc/gshadow']).toBe('root:*::\nshadow:*::\nann:*::bob\nmode 640\n')
  })

  test('initiator and NVMe host get names of their own, where there are any; seeds only root reads', async () => {
    const files = { 'target/etc/iscsi/iscsid.conf': '', 'target/var/lib/systemd/x': '' }
    const names = ['etc/iscsi/initiatorname.iscsi', 'etc/nvme/hostid', 'var/lib/systemd/random-seed']
    const { left, said } = await leftBy(files, {}, names)
    expect(left[names[0]!]).toMatch(/^InitiatorName=iqn\.2016-04\.com\.open-iscsi:[0-9a-f]{12}\nmode 600\n$/)
    expect(left[names[1]!]).toMatch(/No such file/)
    expect(said).toMatch(/=var\/lib\/systemd\/random-seed\n[\s\S]*mode 600\n=end/)
  })

  test('swap files are made anew', async () => {
    const planText = `${plan}swapfile 16777216 /var/swap file\n`
    const { ran } = await runPhase('60-identity.sh', { plan: 'x', planText })
    expect(ran).toEqual(
      expect.arrayContaining([
        'fallocate -l 16777216 /target/var/swap file',
        'chmod 600 /target/var/swap file',
        'mkswap /target/var/swap file',
      ]),
    )
  })

  test('a link in the image does not lead out of it', async () => {
    const { said, found } = await written({ ...target, 'outside/hostname': 'golden\n' }, (root) => {
      rmSync(join(root, 'target/etc/hostname'))
      symlinkSync(join(root, 'outside/hostname'), join(root, 'target/etc/hostname'))
    })
    expect(found.hostname).toBe('n1\n')
    expect(said).not.toMatch(/hostname -> /)
  })
})

describe('chroot', () => {
  // An image holds none of these folders' contents: without /dev/null ssh-keygen fails.
  test('the target gets dev, proc, sys, run and the firmware’s variables', async () => {
    const files = { 'sys/firmware/efi/efivars/x': '' }
    const { code, ran } = await runPhase('50-chroot.sh', { plan: 'efi-nvme-shrunk', files })
    expect(code).toBe(0)
    expect(ran.filter((line) => line.startsWith('mount'))).toEqual([
      'mount -o bind /dev /target/dev',
      'mount -o bind /proc /target/proc',
      'mount -o bind /sys /target/sys',
      'mount -t tmpfs -o mode=0755 tmpfs /target/run',
      'mount -o bind /sys/firmware/efi/efivars /target/sys/firmware/efi/efivars',
    ])
  })
  test('no phase runs the target’s programs before that, but for tar, which needs none of them', () => {
    const folder = join(import.meta.dirname, '../../bootfiles/ramdisk/phases')
    const chroots = readdirSync(folder).flatMap((name) =>
      readFileSync(join(folder, name), 'utf8')
        .replaceAll('\\\n', '')
        .split('\n')
        .filter((line) => /run chroot/.test(line))
        .map((line) => ({ name, line })),
    )
    const [early, late] = [chroots.filter(({ name }) => name < '50-chroot.sh'), chroots.length]
    expect(late).toBeGreaterThan(early.length)
    // Overrides are laid before: what one of them has under dev/ must not get into the ramdisk's own /dev.
    expect(early.map(({ name }) => name)).toEqual(['40-copy.sh'])
    expect(early[0]!.line).toMatch(/ \/usr\/bin\/env -i PATH=\S+ LC_ALL=C tar -x /)
  })
})

describe('boot loader', () => {
  const grub = {
    'target/usr/sbin/grub-install': '',
    'target/usr/sbin/grub-mkconfig': '',
    'target/usr/lib/grub/i386-pc/x': '',
  }
  const env = '/usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C'
  const efi = {
    ...grub,
    'target/usr/lib/grub/x86_64-efi/x': '',
    'sys/firmware/efi/efivars/x': '',
    'target/boot/efi/EFI/debian/grubx64.efi': '',
  }
  test('BIOS: onto the disk', async () => {
    const { code, ran } = await runPhase('70-bootloader.sh', { plan: 'bios-one-disk', files: grub })
    expect(code).toBe(0)
    expect(ran.slice(-2)).toEqual([
      `chroot /target ${env} grub-install --target=i386-pc --recheck /dev/vda`,
      `chroot /target ${env} grub-mkconfig -o /boot/grub/grub.cfg`,
    ])
  })
  test('UEFI: the firmware’s list, the fallback path, and both in the receipt', async () => {
    const { code, ran, state } = await runPhase('70-bootloader.sh', { plan: 'efi-nvme-shrunk', files: efi })
    expect(code).toBe(0)
    const install = `chroot /target ${env} grub-install --target=x86_64-efi --efi-directory=/boot/efi --recheck`
    expect(ran.filter((line) => line.includes('grub-install'))).toEqual([
      `${install} --bootloader-id=debian`,
      `${install} --removable --no-nvram`,
    ])
    expect([state('receipt/esp'), state('receipt/loader')]).toEqual([
      'A1B2-C3D4\n',
      '/EFI/debian/grubx64.efi\n',
    ])
  })
  test('UEFI without variables: the fallback path alone, and it says so', async () => {
    const { 'sys/firmware/efi/efivars/x': _, ...files } = efi
    const { ran, said } = await runPhase('70-bootloader.sh', { plan: 'efi-nvme-shrunk', files })
    expect(said).toMatch(/fallback path alone/)
    expect(ran.filter((line) => line.includes('--bootloader-id=debian --no-nvram'))).toHaveLength(1)
  })
  test('an initramfs for one machine’s hardware is made anew', async () => {
    const files = {
      ...grub,
      'target/etc/initramfs-tools/initramfs.conf': 'MODULES=dep\n',
      'target/usr/sbin/update-initramfs': '',
    }
    const use = (root: string) => chmodSync(join(root, 'target/usr/sbin/update-initramfs'), 0o755)
    const { ran } = await runPhase('70-bootloader.sh', { plan: 'bios-one-disk', files }, use)
    expect(ran).toContain(`chroot /target ${env} update-initramfs -u -k all`)
  })
  test.each([
    ['no GRUB', {}, /no grub-install/],
    [
      'GRUB for another firmware',
      { ...grub, 'target/usr/lib/grub/i386-pc/x': undefined },
      /lacks GRUB's i386-pc modules/,
    ],
  ])('%s: stops before anything is touched', async (_, files, reason) => {
    const there = Object.fromEntries(
      Object.entries(files).filter(([, text]) => text !== undefined),
    ) as Record<string, string>
    const { code, ran, state } = await runPhase('70-bootloader.sh', { plan: 'bios-one-disk', files: there })
    expect({ code, ran }).toEqual({ code: 1, ran: [] })
    expect(state('reason')).toMatch(reason)
  })
})

describe('finish', () => {
  test('innermost mounts first, then the report, then the restart', async () => {
    const { code, ran } = await runPhase('90-finish.sh', { plan: 'efi-nvme-shrunk' }, (root) => {
      const mounts = ['', '/boot/efi', '/dev', '/sys', '/sys/firmware/efi/efivars'].map(
        (path) => `x ${root}/target${path} y z 0 0\n`,
      )
      writeFileSync(
        join(root, 'proc/mounts'),
        `x /elsewhere y z 0 0\nx ${root}/target2 y z 0 0\n${mounts.join('')}`,
      )
      mkdirSync(join(root, 'installer/state/receipt'), { recursive: true })
      writeFileSync(join(root, 'installer/state/receipt/hostkeys'), 'ssh-ed25519 AAAA root@n1\n')
      writeFileSync(join(root, 'installer/state/receipt/esp'), 'A1B2-C3D4\n')
      writeFileSync(join(root, 'installer/state/receipt/loader'), '/EFI/debian/grubx64.efi\n')
      writeFileSync(join(root, 'installer/state/began'), '58\n')
    })
    expect(code).toBe(0)
    expect(ran.filter((line) => !line.startsWith('finish'))).toEqual([
      'sync',
      ...['/sys/firmware/efi/efivars', '/sys', '/dev', '/boot/efi', ''].map(
        (path) => `umount /target${path}`,
      ),
      'sync',
      'reboot -f',
    ])
    const report = ran.find((line) => line.startsWith('finish ok ,'))!
    expect(JSON.parse(`{${report.slice('finish ok ,'.length)}}`)).toEqual({
      receipt: {
        hostKeys: ['ssh-ed25519 AAAA root@n1'],
        espUuid: 'A1B2-C3D4',
        loader: '/EFI/debian/grubx64.efi',
        bytes: 532000000,
        seconds: 42,
      },
    })
  })
})
