// Paths of an image for people and programs: inside, one character a byte; outside, text where it is UTF-8.

/** `bytes`, in base64, only where the path is not UTF-8. */
export function shownPath(path: string): { path: string; bytes?: string } {
  const bytes = Buffer.from(path === '.' ? '/' : `/${path}`, 'latin1')
  const text = bytes.toString('utf8')
  return Buffer.from(text, 'utf8').equals(bytes)
    ? { path: text }
    : { path: text, bytes: bytes.toString('base64') }
}

/** What a person typed: `/etc/fstab`, `etc//fstab/`. Parts `..` stay and find nothing. */
export const typedPath = (text: string): string =>
  Buffer.from(text, 'utf8')
    .toString('latin1')
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/') || '.'
