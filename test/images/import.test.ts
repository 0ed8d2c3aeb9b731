import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openCaptured } from '../../services/capture/modules.ts'
import { netbootFiles } from '../../services/capture/netboot.ts'
import { catFile } from '../../services/images/cat.ts'
import { diffVersions } from '../../services/images/diff.ts'
import { exportImage } from '../../services/images/export.ts'
import { importImage } from '../../services/images/import/import.ts'
import { withOutlet } from '../../services/images/outlet.ts'
import { squashVersion } from '../../services/images/squash.ts'
import { type Images, openImages } from '../../services/images/store.ts'
import { startWorkProgress } from '../../services/images/work-progress.ts'
import type { ImageName } from '../../src/address.ts'
import { parseImageName } from '../../src/address.ts'
import { parsePreflight } from '../../src/image/preflight.ts'
import { cutRow } from '../../src/image/rows.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { makeTree, release } from '../capture/golden.ts'
import { contents, listing, tarFlags, tarOf, unpack } from './layered.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-import-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const run = (...argv: string[]) =>
  execFileSync(argv[0]!, argv.slice(1), { stdio: 'pipe', maxBuffer: 1 << 28 })
const at = (name: string) => join(dir, name)

const layout = `
disks:
  - size: 4 GiB
    partitions:
      - { type: bios-boot, size: 1 MiB }
      - { type: efi, size: 64 MiB, filesystem: vfat, mountpoint: /boot/efi }
      - { type: linux, filesystem: ext4, mountpoint: /, label: root }
`
let images: Images
let root: ImageVersion
const progress = startWorkProgress({ emit: () => {}, kind: 'import' })
const build: Parameters<typeof importImage>[0]['build'] = {
  open: openCaptured,
  netboot: ({ lines, system, ...needs }) =>
    netbootFiles({
      ...needs,
      rows: () => Array.from(lines, cutRow),
      probe: { ...system, loadedModules: [] },
      base: undefined,
    }),
}
function take(source: string, image: string, more: Partial<Parameters<typeof importImage>[0]> = {}) {
  const signal = new AbortController().signal
  const now = new Date()
  return importImage({
    ...{ images, image: parseImageName(image), source, choose: {}, build, progress, signal, now },
    makeUuid: randomUUID,
    ...more,
  })
}
const give = (version: ImageVersion, file: string) =>
  withOutlet(file, (outlet) =>
    exportImage({ images, version, outlet, progress, signal: new AbortController().signal }),
  )
async function text(work: (outlet: never) => Promise<unknown>): Promise<string> {
  const said: string[] = []
  await work({
    write: async (chunk: Buffer | string) => void said.push(chunk.toString('latin1' as never)),
  } as never)
  return said.join('')
}
const differences = async (a: ImageVersion, b: ImageVersion) =>
  (await text((outlet) => diffVersions(images, [a, b], outlet)))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
const cat = (version: ImageVersion, path: string) =>
  text((outlet) => catFile(images, { version, path }, outlet))

beforeAll(async () => {
  images = await openImages(at('images'))
  makeTree(at('tree'))
  run('cp', '/bin/true', at('tree/usr/bin/sh')) // a program of this machine's architecture
  run('ln', '-s', 'usr/bin', at('tree/bin'))
  writeFileSync(at('root.tar'), tarOf(at('tree')))
  root = await take(at('root.tar'), 'root', { layout })
})

describe('a root tarball', () => {
  test('becomes a version whose layers unpack to the same tree, less what belongs to one machine', async () => {
    expect(root).toMatchObject({
      name: 'root',
      version: 1,
      firmware: 'uefi',
      kernelRelease: release,
      os: { id: 'debian', version: '12' },
      sshHostKeyTypes: ['ecdsa', 'ed25519', 'rsa'],
      origin: `import of ${at('root.tar')}`,
    })
    expect(await images.verify(root)).toEqual([])
    const out = at('out')
    unpack(images, root, out)
    for (const path of ['etc/machine-id', 'etc/ssh/ssh_host_ed25519_key', 'tmp/rubbish'])
      expect(existsSync(join(out, path))).toBe(false)
    const same = at('same')
    run('cp', '-a', at('tree'), same)
    for (const path of ['etc/machine-id', 'etc/ssh/ssh_host_ed25519_key', 'tmp/rubbish'])
      rmSync(join(same, path))
    rmSync(join(same, 'var/sock')) // tar has no way to say one
    for (const path of ['sys', 'dev', 'run', 'boot/efi']) mkdirSync(join(same, path))
    for (const path of ['etc', 'etc/ssh', 'tmp', 'var', 'boot', '.'])
      run('touch', '-r', join(at('tree'), path), join(same, path))
    for (const path of ['sys', 'dev', 'run', 'boot/efi']) run('touch', '-d', '@0', join(same, path))
    expect(listing(out)).toBe(listing(same))
    expect(contents(out)).toBe(contents(same))
  })

  test('ACLs are those of the attributes, also where tar was not asked for them', async () => {
    run('cp', '-a', at('tree'), at('acl'))
    mkdirSync(at('acl/srv/acl/folder'), { recursive: true })
    writeFileSync(at('acl/srv/acl/file'), 'file')
    run('setfacl', '-m', 'u:daemon:rw,g:567:r', at('acl/srv/acl/file'))
    run('setfacl', '-d', '-m', 'u:daemon:rwx', at('acl/srv/acl/folder'))
    run('ln', at('acl/srv/acl/file'), at('acl/srv/acl/again'))
    const attributesAlone = tarFlags.filter((flag) => flag !== '--acls')
    writeFileSync(at('attributes.tar'), run('tar', '-C', at('acl'), '-cf', '-', ...attributesAlone, '.'))
    writeFileSync(at('names.tar'), tarOf(at('acl')))
    expect(readFileSync(at('names.tar'), 'latin1')).toContain('user:daemon:rw-\n')
    for (const source of ['attributes', 'names']) {
      const version = await take(at(`${source}.tar`), source, { layout })
      expect(await images.verify(version)).toEqual([])
      unpack(images, version, at(`acl-${source}`))
      expect(listing(at(`acl-${source}/srv/acl`))).toBe(listing(at('acl/srv/acl')))
      const layers = version.layers.map(({ digest }) =>
        run('zstd', '-dc', images.blobPath(digest)).toString('latin1'),
      )
      const name = source === 'names' ? 'daemon' : '1'
      expect(layers.join('')).toContain(`SCHILY.acl.access=user::rw-\nuser:${name}:rw-\n`)
      // The manifest tells of the attributes as they now are: what is made by reading the layers again says the same.
      const signal = new AbortController().signal
      const again = await squashVersion({ images, version, progress, signal, now: new Date() })
      expect(await differences(version, again)).toEqual([])
    }
  })

  test('obeys exclude= and scrub=, looks for secrets in files as a capture does, and says what it left out', async () => {
    const secrets = {
      'root/.ssh/id_ed25519': '-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n',
      'root/.ssh/id_ed25519.pub': 'ssh-ed25519 AAAA\n',
      'etc/netplan/lan.yaml': 'network:\n  ethernets:\n    lan:\n      macaddress: 00:11:22:33:44:55\n',
      'etc/netplan/plain.yaml': 'network: {}\n',
      'etc/crypttab': 'data UUID=1 /srv/luks.key luks\n',
      'srv/luks.key': 'secret',
      'opt/cache/x': 'excluded',
      // A key at the end of what is far larger than any key.
      'etc/ssl/private/bundle.pem': `${'certificates\n'.repeat(500_000)}-----BEGIN RSA PRIVATE KEY-----\nsecret\n`,
      'etc/ssl/private/large.pem': 'certificates\n'.repeat(500_000),
    }
    run('cp', '-a', at('tree'), at('secrets'))
    for (const [path, content] of Object.entries(secrets)) {
      mkdirSync(join(at('secrets'), path, '..'), { recursive: true })
      writeFileSync(join(at('secrets'), path), content)
    }
    run('truncate', '-s', '1T', at('secrets/srv/disk.key'))
    writeFileSync(at('secrets.tar'), tarOf(at('secrets')))
    const usual = await take(at('secrets.tar'), 'secrets', { layout })
    const paths = async (version: ImageVersion) =>
      (await differences(root, version)).map(({ path }: { path: string }) => path)
    const taken = await paths(usual)
    for (const path of ['root/.ssh/id_ed25519.pub', 'etc/netplan/plain.yaml', 'etc/crypttab', 'opt/cache/x'])
      expect(taken).toContain(`/${path}`)
    expect(taken).toContain('/etc/ssl/private/large.pem')
    for (const path of ['root/.ssh/id_ed25519', 'srv/luks.key', 'etc/ssl/private/bundle.pem'])
      expect(taken).not.toContain(`/${path}`)
    expect(usual.scrub).toContain('root-ssh-keys:drop')
    const text = readFileSync(images.blobPath(usual.preflight!.digest), 'utf8')
    const { findings, unread } = parsePreflight(text)
    expect(unread).toEqual({ count: 1, names: ['/srv/disk.key'] })
    const counts = Object.fromEntries(findings.map(({ name, rule, count }) => [name, `${rule} ${count}`]))
    expect(counts).toMatchObject({
      'root-ssh-keys': 'drop 1',
      'tls-private-keys': 'drop 1',
      'disk-keys': 'drop 1',
      'network-matches': expect.stringMatching(/ 1$/),
      'machine-id': 'regenerate 1',
    })
    const kept = await take(at('secrets.tar'), 'kept', {
      ...{ layout, excludes: ['/opt/cache/*'], scrub: ['root-ssh-keys:keep'] },
    })
    const others = await paths(kept)
    expect(others).toContain('/root/.ssh/id_ed25519')
    expect(others).not.toContain('/opt/cache/x')
    expect(kept.excludes).toEqual(['/opt/cache/*'])
  })

  test.each([
    ['gzip', ['gzip', '-k', '-c']],
    ['xz', ['xz', '-0', '-k', '-c']],
    ['zstd', ['zstd', '-q', '-c']],
  ])('compressed by %s it is the same', async (name, argv) => {
    const file = at(`root.${name}`)
    writeFileSync(file, run(...argv, at('root.tar')))
    const version = await take(file, name, { layout })
    expect(await differences(root, version)).toEqual([])
    expect(version.layers).toEqual(root.layers)
  })

  test('cat: a hard link is its file; what a symbolic link leads to is named', async () => {
    const tool = readFileSync(at('tree/usr/bin/tool')).toString('latin1')
    expect(await cat(root, '/usr/bin/tool')).toBe(tool)
    expect(await cat(root, 'etc/alias-of-tool')).toBe(tool)
    expect(await cat(root, '/usr/share/sparse')).toBe(
      readFileSync(at('tree/usr/share/sparse')).toString('latin1'),
    )
    await expect(cat(root, `/lib/modules/${release}/modules.dep`)).rejects.toThrow(
      `root:1: a symbolic link (/lib -> usr/lib; allowed: /usr/lib/modules/${release}/modules.dep)`,
    )
    await expect(cat(root, '/usr')).rejects.toThrow(/a directory/)
    await expect(cat(root, '/var/fifo')).rejects.toThrow(/a named pipe/)
    await expect(cat(root, '/nothing')).rejects.toThrow(/no such file/)
    await expect(cat(root, '/../etc/passwd')).rejects.toThrow(/no such file/)
  })

  test('without a layout, without a kernel, without the kernel that is asked for: refused', async () => {
    await expect(take(at('root.tar'), 'x')).rejects.toThrow(/says nothing of disks/)
    await expect(take(at('root.tar'), 'x', { layout, choose: { kernel: '9.9' } })).rejects.toThrow(release)
    writeFileSync(at('bare.tar'), run('tar', '-C', at('tree'), '-cf', '-', 'etc'))
    await expect(take(at('bare.tar'), 'x', { layout })).rejects.toThrow(/no kernel/)
  })
})

describe('an export', () => {
  test('is an archive that skopeo reads; imported it is the very same version', async () => {
    await give(root, at('export.tar'))
    const seen = JSON.parse(run('skopeo', 'inspect', `oci-archive:${at('export.tar')}`).toString())
    expect(seen.Digest).toBe(root.digest)
    expect(seen.Layers).toEqual(root.layers.map(({ digest }) => digest))
    const other = await openImages(at('other'))
    const back = await take(at('export.tar'), 'back', { images: other })
    expect(back).toEqual({ ...root, name: 'back' })
    expect(await other.verify(back)).toEqual([])
    await expect(give(root, at('export.tar'))).rejects.toThrow(/exists already/)
  })

  test('after skopeo has copied it without our blobs, layers and tree are the same', async () => {
    run('skopeo', 'copy', '-q', `oci-archive:${at('export.tar')}`, `oci:${at('copied')}:x`)
    expect(readdirSync(at('copied/blobs/sha256'))).toHaveLength(root.layers.length + 2)
    const back = await take(at('copied'), 'copied')
    expect(back.layers).toEqual(root.layers)
    expect(back.kernel).toEqual(root.kernel)
    expect(back.modules).toEqual(root.modules)
    expect(back).toMatchObject({ layout: root.layout, os: root.os, firmware: 'uefi' })
    expect(await differences(root, back)).toEqual([])
  })

  test('of a damaged version fails, and leaves no file', async () => {
    const store = await openImages(at('damaged'))
    const version = await take(at('export.tar'), 'x', { images: store })
    const path = store.blobPath(version.layers[0]!.digest)
    const bytes = readFileSync(path)
    bytes[100]! ^= 1
    writeFileSync(path, bytes)
    const exported = withOutlet(at('bad.tar'), (outlet) =>
      exportImage({ images: store, version, outlet, progress, signal: new AbortController().signal }),
    )
    await expect(exported).rejects.toThrow(/blob is damaged/)
    expect(readdirSync(dir).filter((name) => name.startsWith('bad.tar'))).toEqual([])
  })
})

/** An OCI image layout by hand, as other builders write it. */
function ociLayout(
  folder: string,
  layers: { archive: Buffer; type?: string; stored?: Buffer }[],
  more: object = {},
) {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true })
  const put = (content: Buffer, mediaType: string) => {
    const hex = createHash('sha256').update(content).digest('hex')
    writeFileSync(join(folder, 'blobs/sha256', hex), content)
    return { mediaType, digest: `sha256:${hex}`, size: content.length }
  }
  const descriptors = layers.map(({ archive, type = 'tar+gzip', stored = gzipSync(archive) }) =>
    put(stored, `application/vnd.oci.image.layer.v1.${type}`),
  )
  const diffIds = layers.map(({ archive }) => `sha256:${createHash('sha256').update(archive).digest('hex')}`)
  const config = {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: diffIds },
    config: {},
    ...more,
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: put(Buffer.from(JSON.stringify(config)), 'application/vnd.oci.image.config.v1+json'),
    layers: descriptors,
  }
  const row = put(Buffer.from(JSON.stringify(manifest)), manifest.mediaType)
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' }
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...row, annotations }] }),
  )
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
}

describe('an OCI image built elsewhere', () => {
  test('has its layers laid one over the other, whiteouts and all', async () => {
    mkdirSync(at('upper/etc'), { recursive: true })
    mkdirSync(at('upper/usr/share'), { recursive: true })
    writeFileSync(at('upper/etc/.wh.shadow'), '')
    writeFileSync(at('upper/etc/motd'), 'built')
    writeFileSync(at('upper/usr/share/.wh..wh..opq'), '')
    writeFileSync(at('upper/usr/share/only'), 'this')
    writeFileSync(at('upper/usr/bin'), '') // replaced below: bin becomes a folder with one file
    rmSync(at('upper/usr/bin'))
    const base = readFileSync(at('root.tar'))
    const upper = run('tar', '-C', at('upper'), '--sort=name', '-cf', '-', 'etc', 'usr')
    ociLayout(at('built'), [{ archive: base }, { archive: upper }])
    const version = await take(at('built'), 'built', { layout, choose: { ref: 'latest' } })
    const found = await differences(root, version)
    const paths = (change: string) => found.filter((row) => row.change === change).map(({ path }) => path)
    expect(paths('added')).toEqual(['/etc/motd', '/usr/share/only'])
    expect(paths('removed')).toContain('/etc/shadow')
    expect(paths('removed').filter((path) => !path.startsWith('/usr/share/'))).toEqual(['/etc/shadow'])
    expect(await cat(version, '/etc/motd')).toBe('built')
    const out = at('built-out')
    unpack(images, version, out)
    expect(readdirSync(join(out, 'usr/share'))).toEqual(['only'])
    // skopeo makes an archive of it, and podman or docker zstd layers: the same.
    run('skopeo', 'copy', '-q', `oci:${at('built')}:latest`, `oci-archive:${at('built.tar')}`)
    expect((await take(at('built.tar'), 'again', { layout })).layers).toEqual(version.layers)
    ociLayout(at('zstd'), [
      { archive: base, type: 'tar+zstd', stored: run('zstd', '-q', '-c', at('root.tar')) },
      { archive: upper, type: 'tar', stored: upper },
    ])
    expect((await take(at('zstd'), 'zstd2', { layout })).layers).toEqual(version.layers)
  })

  test('that is not what its digests say, or lacks something, is refused', async () => {
    const archive = readFileSync(at('root.tar'))
    ociLayout(at('lie'), [{ archive, stored: gzipSync(tarOf(at('upper'))) }])
    await expect(take(at('lie'), 'lie', { layout })).rejects.toThrow(/a layer of the source is damaged/)
    ociLayout(at('changed'), [{ archive }])
    const big = readdirSync(at('changed/blobs/sha256')).find(
      (name) => readFileSync(at(`changed/blobs/sha256/${name}`)).length > 9999,
    )!
    writeFileSync(at(`changed/blobs/sha256/${big}`), 'other')
    await expect(take(at('changed'), 'lie', { layout })).rejects.toThrow(/its content is/)
    rmSync(at(`changed/blobs/sha256/${big}`))
    await expect(take(at('changed'), 'lie', { layout })).rejects.toThrow(/a blob of the image is missing/)
    await expect(take(at('built'), 'lie', { layout, choose: { ref: 'other' } })).rejects.toThrow(/latest/)
    ociLayout(at('odd'), [{ archive, type: 'tar+gzip+encrypted' }])
    await expect(take(at('odd'), 'lie', { layout })).rejects.toThrow(/a layer of this kind/)
    expect(images.list().some(({ name }) => name === 'lie')).toBe(false)
  })
})

describe('a SystemImager image', () => {
  test('comes with its autoinstallscript.conf', async () => {
    run('cp', '-a', at('tree'), at('si'))
    mkdirSync(at('si/etc/systemimager'), { recursive: true })
    writeFileSync(at('si/etc/systemimager/IMAGE_RETRIEVED_FROM'), 'golden7\n')
    writeFileSync(
      at('si/etc/systemimager/autoinstallscript.conf'),
      `<!-- made by si_prepareclient -->
<config>
  <disk dev="/dev/sda" label_type="gpt" unit_of_measurement="MB">
    <part  num="1" size="1" p_type="primary" p_name="-" flags="bios_grub" />
    <part  num="2" size="100" p_type="primary" p_name="EFI" flags="boot" />
    <part  num="3" size="*" p_type="primary" p_name="-" flags="-" />
  </disk>
  <fsinfo  line="10" comment="# /etc/fstab: &lt;file system&gt;" />
  <fsinfo  line="30" real_dev="/dev/sda2" mp="/boot/efi" fs="vfat" options="umask=0077" dump="0" pass="1" />
  <fsinfo  line="20" real_dev="/dev/sda3" mount_dev="UUID=0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a" mp="/" fs="ext4" options="errors=remount-ro" dump="0" pass="1" />
  <fsinfo  line="40" real_dev="proc" mp="/proc" fs="proc" options="defaults" dump="0" pass="0" format="no" />
</config>
`,
    )
    const version = await take(at('si'), 'si')
    expect(version).toMatchObject({ source: 'golden7', firmware: 'uefi' })
    const [disk] = version.layout.disks
    expect(
      disk!.partitions.map(({ number, filesystem }) => [number, filesystem?.type, filesystem?.mountpoint]),
    ).toEqual([
      [1, undefined, undefined],
      [2, 'vfat', '/boot/efi'],
      [3, 'ext4', '/'],
    ])
    const esp = disk!.partitions[1]!.filesystem!.uuid
    expect(version.layout.fstab).toBe(
      `# /etc/fstab: <file system>\nUUID=0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a / ext4 errors=remount-ro 0 1\nUUID=${esp} /boot/efi vfat umask=0077 0 1\nproc /proc proc defaults 0 0\n`,
    )
    const added = (await differences(root, version)).map(({ path }) => path)
    expect(added.every((path) => path.startsWith('/etc'))).toBe(true)
  })
})

describe('a SystemImager image on arrays and LVM', () => {
  const xml = `<config>
  <disk dev="/dev/sda" label_type="gpt" unit_of_measurement="MiB">
    <part num="1" size="1" p_type="primary" flags="bios_grub" />
    <part num="2" size="200" p_type="primary" flags="raid" raid_dev="/dev/md0" />
    <part num="3" size="*" p_type="primary" flags="lvm" lvm_group="vg0" />
  </disk>
  <disk dev="/dev/sdb" label_type="gpt" unit_of_measurement="MiB">
    <part num="1" size="200" p_type="primary" flags="raid" raid_dev="/dev/md0" />
  </disk>
  <raid><raid_disk name="/dev/md0" raid_level="1" /></raid>
  <lvm version="2">
    <lvm_group name="vg0" max_log_vols="0" max_phys_vols="0" phys_extent_size="4096K">
      <lv name="root" size="*" />
      <lv name="deep" size="512M" />
    </lvm_group>
  </lvm>
  <bootloader flavor="grub2" install_type="legacy" timeout="2"><target dev="/dev/sda"/></bootloader>
  <fsinfo line="10" real_dev="/dev/vg0/root" mp="/" fs="ext4" options="defaults" dump="0" pass="1" />
  <fsinfo line="20" real_dev="/dev/md0" mp="/boot" fs="ext4" options="defaults" dump="0" pass="2" />
  <fsinfo line="30" real_dev="/dev/vg0/deep" mp="/srv/deep" fs="xfs" options="defaults" dump="0" pass="0" />
</config>
`
  const uuid = '4d24c32c:60a45b42:183ce373:e212c411'
  beforeAll(() => {
    run('cp', '-a', at('tree'), at('si-md'))
    mkdirSync(at('si-md/etc/mdadm'))
    writeFileSync(at('si-md/etc/mdadm/mdadm.conf'), `ARRAY /dev/md0 metadata=1.0 name=g:0 UUID=${uuid}\n`)
  })

  const isIt = (version: ImageVersion) => {
    const { arrays, groups, mdadmConf } = version.layout
    expect(arrays).toMatchObject([
      {
        path: '/dev/md0',
        devices: 2,
        uuid,
        name: 'g:0',
        metadata: '1.0',
        filesystem: { mountpoint: '/boot' },
      },
    ])
    expect(mdadmConf).toContain(`UUID=${uuid}`)
    expect(groups![0]!.volumes.map(({ name, filesystem }) => [name, filesystem!.mountpoint])).toEqual([
      ['root', '/'],
      ['deep', '/srv/deep'],
    ])
    // The volume that takes the rest holds the image.
    expect(groups![0]!.volumes[0]!.bytes).toBeGreaterThan(2 ** 30)
  }

  test('by a disks-layout.xml that is given: kept with the version; mount points on volumes are made', async () => {
    const version = await take(at('si-md'), 'si-md', { layout: xml })
    isIt(version)
    const added = (await differences(root, version)).map(({ path }) => path)
    expect(added).toContain('/srv/deep')
    expect(images.find(version)).toEqual(version)
  })

  test('by the one that is in the image', async () => {
    mkdirSync(at('si-md/etc/systemimager'))
    writeFileSync(at('si-md/etc/systemimager/disks-layout.xml'), xml)
    isIt(await take(at('si-md'), 'si-md'))
  })

  test('what is wrong in one that is given is named with its line', async () => {
    const wrong = xml.replace('raid_level="1"', 'raid_level="8"')
    await expect(take(at('si-md'), 'si-wrong', { layout: wrong })).rejects.toThrow(
      /^layout:10: not a level of arrays \(raid_level="8"/,
    )
  })
})

describe('hostile archives', () => {
  /** GNU tar is asked for the worst that it will write. */
  const evil = (name: string, ...argv: string[]) => {
    writeFileSync(at(name), run('tar', '-C', at('upper'), '-P', '-cf', '-', ...argv))
    return at(name)
  }
  const around = () => run('find', '/etc', '-maxdepth', '1', '-newer', at('root.tar')).toString()

  test.each<[string, () => string, RegExp]>([
    [
      'a path that leads up',
      () => evil('up.tar', '--transform=s,etc/motd,../../../etc/motd,', 'etc/motd'),
      /plain relative path/,
    ],
    [
      'an absolute path',
      () => evil('absolute.tar', '--transform=s,etc/motd,/etc/motd,', 'etc/motd'),
      /plain relative path/,
    ],
    [
      'a file through a link of its own',
      () => {
        mkdirSync(at('evil'), { recursive: true })
        spawnSync('ln', ['-s', '/etc', at('evil/x')])
        const link = run('tar', '-C', at('evil'), '-cf', '-', 'x').subarray(0, 512)
        const file = run('tar', '-C', at('upper'), '-cf', '-', '--transform=s,etc/motd,x/motd,', 'etc/motd')
        writeFileSync(at('through.tar'), Buffer.concat([link, file]))
        return at('through.tar')
      },
      /lies below "\/x", which is no directory/,
    ],
    ['cut short', () => cut('root.tar', 0.7), /cannot be read/],
    ['compressed and cut short', () => cut('root.gzip', 0.7), /cannot be read/],
    ['no archive at all', () => file('noise', Buffer.alloc(100_000, 'noise')), /cannot be read/],
    ['empty', () => file('empty', Buffer.alloc(0)), /cannot be read|no kernel/],
    ['a device', () => '/dev/null', /not a source/],
    ['not there', () => at('nowhere'), /ENOENT/],
  ])('%s: refused, and nothing is written outside', async (_, make, why) => {
    const seen = around()
    await expect(take(make(), 'evil', { layout })).rejects.toThrow(why)
    expect(around()).toBe(seen)
    expect(readdirSync(at('images/staging'))).toEqual([])
    expect(images.list().some(({ name }) => name === 'evil')).toBe(false)
  })
  function file(name: string, content: Buffer) {
    writeFileSync(at(name), content)
    return at(name)
  }
  function cut(name: string, share: number) {
    const bytes = readFileSync(at(name))
    writeFileSync(at(`cut-${name}`), bytes.subarray(0, Math.floor(bytes.length * share)))
    return at(`cut-${name}`)
  }

  test('a sparse file of a terabyte and device nodes are taken for what they are, and cost nothing', async () => {
    run('cp', '-a', at('tree'), at('huge'))
    run('truncate', '-s', '1T', at('huge/usr/share/terabyte'))
    writeFileSync(at('huge.tar'), tarOf(at('huge')))
    const version = await take(at('huge.tar'), 'huge', { layout })
    expect((await differences(root, version)).map(({ path, change }) => [path, change])).toEqual([
      ['/usr/share/terabyte', 'added'],
    ])
    expect(version.layers.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(3_000_000)
  })

  test('an OCI archive with links, or a blob that is another, is refused', async () => {
    run('cp', '-a', at('built'), at('linked'))
    run('ln', '-sf', '/etc/shadow', at('linked/index.json'))
    writeFileSync(
      at('linked.tar'),
      run('tar', '-C', at('linked'), '-cf', '-', 'oci-layout', 'index.json', 'blobs'),
    )
    await expect(take(at('linked.tar'), 'evil', { layout })).rejects.toThrow(/no plain file/)
    run('cp', '-a', at('built'), at('wrong'))
    const [name] = readdirSync(at('wrong/blobs/sha256'))
    writeFileSync(at(`wrong/blobs/sha256/${name}`), 'other')
    writeFileSync(
      at('wrong.tar'),
      run('tar', '-C', at('wrong'), '-cf', '-', 'oci-layout', 'index.json', 'blobs'),
    )
    await expect(take(at('wrong.tar'), 'evil', { layout })).rejects.toThrow(/its content is/)
    expect(readdirSync(at('images/staging'))).toEqual([])
  })
})

test('names are one name each: what is imported twice at once gets two numbers', async () => {
  const made = await Promise.all([
    take(at('root.tar'), 'twice', { layout }),
    take(at('root.tar'), 'twice', { layout }),
  ])
  expect(made.map(({ version }) => version).sort()).toEqual([1, 2])
  expect(made[0]!.layers).toEqual(made[1]!.layers)
  expect(images.get('twice' as ImageName)!.version).toBe(2)
})
