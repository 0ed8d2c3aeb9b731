#!/bin/sh
# inspect.sh   Says which of the named files hold a line of that form; what they hold is not said. Changes nothing.
# stdin: the root directory (a line), an extended regular expression (a line), then names, each ended by NUL.
# stdout: the names of those that do, each ended by NUL.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
unset GREP_OPTIONS
IFS= read -r root
IFS= read -r pattern
cd "$root"

# What was a file when it was listed may be a FIFO now: -D skip. It stops at the first line that is found.
# grep says 1 where nothing is found, and 2 of files that are gone: xargs makes 123 of both.
xargs -0 -r grep -lZsaE -D skip -e "$pattern" -- || [ $? = 123 ]
