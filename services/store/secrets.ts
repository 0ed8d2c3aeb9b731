// Secrets of the database, encrypted with a key that lies beside it: who gets the one file alone, or the row of another
// object, reads nothing. AES-256-GCM; a sealed text is `v1:` and base64 of  nonce 12 | tag 16 | encrypted text.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { chmod, link, open, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { UserError } from '../../src/fault.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const VERSION = 'v1:'

/** What is sealed in one place (`node n1 bmcpassword`) opens in that place alone. */
export type Secrets = {
  seal(place: string, text: string): string
  open(place: string, sealed: string): string
}
export type Sealed = { place: string; sealed: string }

/**
 * Reads the key, or makes it where nothing is encrypted yet.
 * @param kept what is encrypted already: a key that opens none of it is another one
 */
export async function openSecrets(file: string, kept: Sealed[]): Promise<Secrets> {
  const key = (await readKey(file)) ?? (kept.length === 0 ? await makeKey(file) : undefined)
  if (!key) throw keyFault('the key file of the secrets is missing', file, kept)
  if (key.length !== KEY_BYTES) throw keyFault('not a key file', file, kept, `${key.length} bytes`)
  const secrets = secretsOf(key, file)
  if (kept.length > 0 && !kept.some((each) => opens(secrets, each)))
    throw keyFault('not the key that the secrets were encrypted with', file, kept)
  return secrets
}

function secretsOf(key: Buffer, file: string): Secrets {
  function seal(place: string, text: string): string {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(place))
    const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return VERSION + Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64')
  }

  function open(place: string, sealed: string): string {
    try {
      if (!sealed.startsWith(VERSION)) throw new Error('of no version that is known')
      const bytes = Buffer.from(sealed.slice(VERSION.length), 'base64')
      const [nonce, tag] = [
        bytes.subarray(0, NONCE_BYTES),
        bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES),
      ]
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
      decipher.setAAD(Buffer.from(place)).setAuthTag(tag)
      return (
        decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
      )
    } catch {
      throw new UserError('the secret can not be decrypted', {
        what: `${place}: it was changed, moved, or encrypted with another key than ${file}`,
        allowed: 'the secret set anew',
        status: 500,
      })
    }
  }

  return { seal, open }
}

function opens({ open }: Secrets, { place, sealed }: Sealed): boolean {
  try {
    open(place, sealed)
    return true
  } catch {
    return false
  }
}

async function readKey(file: string): Promise<Buffer | undefined> {
  try {
    const key = await readFile(file)
    await chmod(file, 0o600)
    return key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw unusable(file, error)
  }
}

/** Whole or not there, and on the disk before anything is encrypted with it; never in the place of one that is there. */
async function makeKey(file: string): Promise<Buffer> {
  const beside = `${file}.${randomBytes(6).toString('hex')}`
  try {
    const handle = await open(beside, 'wx', 0o600)
    try {
      await handle.writeFile(randomBytes(KEY_BYTES))
      await handle.sync()
    } finally {
      await handle.close()
    }
    // Unlike rename, this keeps the key of whoever came first.
    await link(beside, file).catch((error) => {
      if (error.code !== 'EEXIST') throw error
    })
    const folder = await open(dirname(file), 'r')
    await folder.sync().finally(() => folder.close())
    return await readFile(file)
  } catch (error) {
    throw unusable(file, error)
  } finally {
    await rm(beside, { force: true })
  }
}

const unusable = (file: string, error: unknown) =>
  new UserError('the key file of the secrets can not be used', {
    what: error instanceof Error ? error.message : String(error),
    object: file,
    status: 500,
  })

function keyFault(error: string, file: string, kept: Sealed[], what?: string): UserError {
  const lost = `sqlite3 DATABASE 'update node set bmcpassword = null' and the passwords set anew`
  return new UserError(error, {
    what: what ?? `${kept.length} secrets of the database are encrypted`,
    allowed:
      kept.length === 0
        ? 'the file removed: a new one is made'
        : `the file from a copy; without one: ${lost}`,
    object: file,
    status: 500,
  })
}
