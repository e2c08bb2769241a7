package nbd_test

import (
	"os/exec"
	"testing"

	"github.com/vappvault/vappvault/internal/nbd"
)

// nbdsh runs a script with a handle h of libnbd and the socket of a server.
func nbdsh(t *testing.T, sock, script string) {
	t.Helper()
	// Debian's own Python has the bindings; another one in front of it has not.
	cmd := exec.CommandContext(soon(t), "/usr/bin/python3", "-c", "import nbd, sys\nsock = sys.argv[1]\nh = nbd.NBD()\n"+script, sock)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNbdsh(t *testing.T) {
	leaks(t)
	path, _ := image(t)
	disk := openDisk(t, path)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{
		{Name: "ro", Description: "a line", Backend: disk, ReadOnly: true},
		{Name: "rw", Backend: openDisk(t, file(t, mib, nil)), BlockSize: 512},
	}}))
	for name, script := range nbdshScripts {
		t.Run(name, func(t *testing.T) { nbdsh(t, sock, script) })
	}
}

// nbdshScripts find two exports: "ro", which is what image makes, and "rw", in
// blocks of 512 bytes.
var nbdshScripts = map[string]string{
	"the negotiation": `
h.set_opt_mode(True)
h.add_meta_context("base:allocation")
h.connect_unix(sock)
seen = []
assert h.opt_list(lambda name, text: seen.append((name, text))) == 2
assert seen == [("ro", "a line"), ("rw", "")], seen
h.set_export_name("nowhere")
try:
    h.opt_info()
    assert False
except nbd.Error as e:
    assert e.errnum == 2, e
h.set_full_info(True)
h.set_export_name("ro")
h.opt_info()
assert h.get_size() == 33555968 and h.is_read_only()
assert h.get_canonical_export_name() == "ro" and h.get_export_description() == "a line"
h.set_export_name("rw")
contexts = []
assert h.opt_list_meta_context(lambda c: contexts.append(c)) == 1
assert contexts == ["base:allocation"]
h.opt_go()
assert h.can_meta_context("base:allocation") and not h.is_read_only()
assert h.get_block_size(nbd.SIZE_MINIMUM) == 512
h.pwrite(b"x" * 512, 512, nbd.CMD_FLAG_FUA)
assert h.pread(512, 512) == b"x" * 512
h.shutdown()
`,
	"leaving in the negotiation": `
h.set_opt_mode(True)
h.connect_unix(sock)
h.opt_abort()
`,
	"holes, chunks and DF": `
h.add_meta_context("base:allocation")
h.set_export_name("ro")
h.connect_unix(sock)
def read(flags):
    seen = []
    def f(buf, off, status, err):
        seen.append((off, len(buf), status))
    h.pread_structured(4 << 20, 1 << 20, f, flags)
    return sorted(seen)
assert read(0) == [(1 << 20, 2 << 20, nbd.READ_HOLE), (3 << 20, 1 << 20, nbd.READ_DATA), (4 << 20, 1 << 20, nbd.READ_DATA)], read(0)
assert read(nbd.CMD_FLAG_DF) == [(1 << 20, 4 << 20, nbd.READ_DATA)], read(nbd.CMD_FLAG_DF)
def status(flags):
    seen = []
    h.block_status(8 << 20, 1 << 20, lambda ctx, off, entries, err: seen.append((off, entries)), flags)
    return seen
assert status(0) == [(1 << 20, [2 << 20, 3, 5246976, 0, 1044480, 3])], status(0)
assert status(nbd.CMD_FLAG_REQ_ONE) == [(1 << 20, [2 << 20, 3])]
`,
	"refusals": `
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.set_export_name("rw")
h.connect_unix(sock)
import errno
def refused(want, f, *args):
    try:
        f(*args)
        assert False, args
    except nbd.Error as e:
        assert e.errnum == want, (e, want)
refused(errno.EINVAL, h.pread, 100, 0)
refused(errno.EINVAL, h.pread, 512, 100)
refused(errno.EINVAL, h.pread, 1024, (1 << 20) - 512)
refused(errno.ENOSPC, h.pwrite, b"x" * 1024, (1 << 20) - 512)
refused(errno.ENOSPC, h.zero, 512, 1 << 20)
refused(errno.EINVAL, h.cache, 512, 0)
refused(errno.EINVAL, h.zero, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
refused(errno.EINVAL, h.block_status, 0, 0, lambda *a: 0)
assert h.pread(512, 0) == bytes(512)
`,
	"a read-only export": `
h.set_strict_mode(0)
h.set_export_name("ro")
h.connect_unix(sock)
import errno
for f in (lambda: h.pwrite(b"x", 0), lambda: h.zero(1, 0), lambda: h.trim(1, 0)):
    try:
        f()
        assert False
    except nbd.Error as e:
        assert e.errnum == errno.EPERM, e
h.flush()
`,
	"without structured replies": `
h.set_request_structured_replies(False)
h.set_export_name("ro")
h.connect_unix(sock)
assert not h.get_structured_replies_negotiated() and not h.can_df()
assert h.pread(1 << 20, 1 << 20) == bytes(1 << 20)
assert h.pread(8 << 20, 0)[(1 << 20):(3 << 20)] == bytes(2 << 20)
`,
	"many requests at once": `
h.set_export_name("ro")
h.connect_unix(sock)
want = h.pread(4 << 20, 3 << 20)
bufs = [nbd.Buffer(65536) for i in range(64)]
cookies = [h.aio_pread(b, (3 << 20) + i * 65536) for i, b in enumerate(bufs)]
while h.aio_in_flight() > 0:
    while h.aio_peek_command_completed() > 0:
        h.aio_command_completed(h.aio_peek_command_completed())
    if h.aio_in_flight() > 0:
        h.poll(-1)
assert b"".join(bytes(b.to_bytearray()) for b in bufs) == want
`,
}
