// The TFTP server alone, for clients in another network namespace: node serve.ts ADDRESS FOLDER. Any file of the folder.
import { join } from 'node:path'
import { fileContent } from '../../services/http/content.ts'
import { startPool } from '../../services/tftp/pool.ts'
import { startTftp } from '../../services/tftp/server.ts'
import { parseIpv4 } from '../../src/address.ts'

const [address = '', folder = ''] = process.argv.slice(2)
const emit = (type: string, fields: object) => console.log(JSON.stringify({ type, ...fields }))
const pool = await startPool({ workers: 2, emit })
await startTftp({
  address: parseIpv4(address),
  port: 69,
  open: (name) => fileContent(join(folder, name), { contentType: 'x' }),
  pool,
  emit,
})
console.log('ready')
