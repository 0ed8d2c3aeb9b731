import { expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import { aclText, missingAcls } from '../../src/image/posix-acl.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
// What getfattr and getfacl -n said of files after the setfacl commands.
const acls = {
  'u:1234:rw,g:567:r': {
    bytes: hex(
      `02000000 01000600ffffffff 02000600d2040000 04000400ffffffff 0800040037020000 10000600ffffffff
      20000400ffffffff`,
    ),
    text: 'user::rw-\nuser:1234:rw-\ngroup::r--\ngroup:567:r--\nmask::rw-\nother::r--\n',
  },
  '-d u:99:rwx': {
    bytes: hex(
      '02000000 01000700ffffffff 0200070063000000 04000500ffffffff 10000700ffffffff 20000500ffffffff',
    ),
    text: 'user::rwx\nuser:99:rwx\ngroup::r-x\nmask::rwx\nother::r-x\n',
  },
}

test.each(Object.entries(acls))('%s: is its text', (_, { bytes, text }) => {
  expect(aclText(bytes)).toBe(text)
})

test.each(Object.entries(acls))(
  '%s: cut short anywhere but between entries it is none',
  (_, { bytes, text }) => {
    for (let length = 0; length < bytes.length; length++) {
      const part = bytes.subarray(0, length)
      if (length % 8 === 4) expect(text.startsWith(aclText(part))).toBe(true)
      else expect(() => aclText(part)).toThrow(WireError)
    }
  },
)

test('a record is made where there is only the attribute; one that is there stays as it is', () => {
  const { bytes, text } = acls['u:1234:rw,g:567:r']
  const attribute: [string, string] = ['SCHILY.xattr.system.posix_acl_access', bytes.toString('latin1')]
  const named: [string, string] = ['SCHILY.acl.access', text.replace('1234', 'somebody')]
  expect(missingAcls(new Map([attribute]))).toEqual([['SCHILY.acl.access', text]])
  expect(missingAcls(new Map([named, attribute]))).toEqual([])
  expect(missingAcls(new Map([named]))).toEqual([])
})
