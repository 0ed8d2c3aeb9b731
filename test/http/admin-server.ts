// An admin API over a real unix socket and a real database, for tests of its parts.
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { startAdmin } from '../../services/http/admin.ts'
import type { AdminNeeds } from '../../services/http/admin-needs.ts'
import { openStore } from '../../services/store/store.ts'
import type { ImageName, Ipv4, NodeName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import { emptyWorld } from './empty-world.ts'
import { imageNeeds } from './image-store.ts'
import { testEvents } from './test-events.ts'

/** Nodes n1..n3, n1 and n2 of group compute; n2 is locked; osimage img. */
export async function adminServer(more: Partial<AdminNeeds> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'sysclone-admin-'))
  const socket = join(folder, 'api.sock')
  const store = await openStore(join(folder, 'db'))
  await store.nodes.putMany(
    ['n1', 'n2', 'n3'].map((name) => ({
      name: name as NodeName,
      groups: name === 'n3' ? [] : ['compute'],
      mac: [],
    })),
  )
  await store.osimages.put({ name: 'img' as ImageName })
  const states = new Map<string, string>()
  const { events, emit, listeners } = await testEvents(store)
  const admin = await startAdmin({
    socket,
    store,
    networks: [{ interface: 'eth1', subnet: { base: 0x0a000000, prefix: 24 }, address: '10.0.0.1' as Ipv4 }],
    images: { list: () => [], get: () => ({ name: 'img' }) as never },
    ...imageNeeds(),
    deploy: {
      async arm(name, image) {
        if (name === 'n2') throw new UserError('the node is locked', { what: 'lock=1' })
        states.set(name, `${image}:1 armed`)
        return 'sysclone debian12-x86_64'
      },
      async setState(name, state) {
        states.set(name, state)
        return state
      },
      stat: async (name) => states.get(name) ?? 'boot',
    },
    publicIdentity: async () => ({
      publicKey: 'ssh-ed25519 AAAA sysclone',
      fingerprint: 'SHA256:x',
      path: '/x/id_ed25519',
    }),
    capture: async () => ({ job: 'j1' }),
    keepFiles: async () => ({}),
    leases: async () => [],
    dryWorld: async () => emptyWorld,
    strangers: async () => [],
    nodesChanged: () => {},
    events,
    emit,
    ...more,
  })
  onTestFinished(async () => {
    await admin.close()
    await events.close()
    await store.close().catch(() => {})
    rmSync(folder, { recursive: true })
  })

  function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const length = text !== undefined && {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(text)),
    }
    return new Promise<{ status: number; body: any }>((resolve, reject) => {
      const options = { socketPath: socket, method, path, headers: { ...length, ...headers }, agent: false }
      const sent = request(options, async (response) => {
        const chunks: Buffer[] = []
        for await (const chunk of response) chunks.push(chunk)
        resolve({ status: response.statusCode!, body: JSON.parse(Buffer.concat(chunks).toString()) })
      })
      sent.on('error', reject)
      sent.end(text)
    })
  }
  return { folder, socket, store, events, emit, listeners, call, close: () => admin.close() }
}
