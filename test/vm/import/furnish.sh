# furnish.sh KEY   In a new Debian root: what who packs it for many machines puts there. Leaves: what a clone must not have
# either, an identity that is not its own.
set -eu
install -d -m 700 /root/.ssh
echo "$1" > /root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys
# Names of NICs differ from machine to machine.
cat > /etc/network/interfaces <<'END'
auto lo
iface lo inet loopback

auto /e*=lan
iface lan inet dhcp
END
cat > /etc/default/grub <<'END'
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 no_timer_check tsc=reliable mitigations=off quiet"
GRUB_TERMINAL=console
END
# Without a way out to the Internet they look for updates right after the boot.
for timer in apt-daily.timer apt-daily-upgrade.timer; do ln -s /dev/null "/etc/systemd/system/$timer"; done
echo builder > /etc/hostname
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
