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
