package vcenter

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// A diskHandle is a disk that a client of the disk port has open.
type diskHandle struct {
	p    *diskPort
	conn *diskConn
	id   uint32

	path, vmName, server string // as rules and the log of calls have them

	vs        *vmState
	host      *esxHost
	snapshot  *types.ManagedObjectReference // nil: the disk of a VM that is off
	key       int32
	layer     *layer
	size      int64 // bytes, when it was opened
	readOnly  bool
	encrypted bool
	transport string

	once sync.Once
	file *os.File // of a base; conn.send guards its position
	err  error
}

// valid tells why the handle is good for nothing any more.
func (h *diskHandle) valid() error {
	if !h.conn.loggedIn() {
		return vix(vixConnectionLost, "VixDiskLibVim: the session has ended")
	}
	h.vs.io.RLock()
	defer h.vs.io.RUnlock()
	switch {
	case h.vs.gone:
		return vix(vixFileError, "NfcFssrvr: the virtual machine %s was deleted", h.vs.ref.Value)
	case h.snapshot != nil && h.vs.snaps[*h.snapshot] == nil:
		return vix(vixFileError, "NfcFssrvr: the snapshot %s was removed", h.snapshot.Value)
	case h.snapshot == nil && (h.vs.disks[h.key] == nil || h.vs.disks[h.key].top != h.layer):
		return vix(vixFileError, "NfcFssrvr: the disk %s is no longer the virtual machine's", h.layer.file)
	}
	return nil
}

// loggedIn tells whether the connection's session has not ended.
func (d *diskConn) loggedIn() bool {
	d.p.mu.Lock()
	key, own := d.session, d.own
	d.p.mu.Unlock()
	return key != "" && (own || slices.ContainsFunc(d.p.s.sessions(), func(u types.UserSession) bool { return u.Key == key }))
}

// within checks the sectors of a call.
func (h *diskHandle) within(head diskHead) error {
	total := uint64(h.size) / sectorSize
	switch {
	case head.sectors == 0:
		return vix(vixInvalidArg, "no sectors")
	case head.sector > total || head.sectors > total-head.sector:
		return vix(vixOutOfRange, "sectors %d+%d: the disk has %d", head.sector, head.sectors, total)
	}
	return nil
}

func (h *diskHandle) mayRead(head diskHead) error {
	if err := h.within(head); err != nil {
		return err
	}
	if head.sectors > maxTransfer/sectorSize {
		return vix(vixInvalidArg, "%d sectors are too many for a call", head.sectors)
	}
	if err := h.valid(); err != nil {
		return err
	}
	return h.openFile()
}

// openFile opens a base's extent file once: its bytes can go to the client
// without a stop here.
func (h *diskHandle) openFile() error {
	h.once.Do(func() {
		if h.layer.parent != nil {
			return
		}
		if h.err = h.layer.make(); h.err == nil {
			h.file, h.err = os.Open(h.layer.extentPath())
		}
	})
	return h.err
}

// sendSectors answers a read that was found to be allowed. What the handle
// reads does not change meanwhile: nothing is merged into a layer that is
// open.
func (d *diskConn) sendSectors(head diskHead, f *diskFate) {
	h := d.handle(head.handle)
	if h == nil {
		return
	}
	off, n := int64(head.sector)*sectorSize, int64(head.sectors)*sectorSize
	top := appendDiskReply(nil, head.tag, 0, 0, int(n))
	if f == nil && h.file != nil && off+n <= min(vdisk.SegmentSize, h.layer.capacity()) {
		d.sendFile(h, top, off, n)
		return
	}
	b := make([]byte, n)
	if off < h.layer.capacity() { // an Open can have told too large a size
		if _, err := h.layer.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			d.reply(head, nil, err)
			return
		}
	}
	d.send.Lock()
	defer d.send.Unlock()
	if _, err := d.c.Write(top); err == nil {
		d.sendSlowly(b, f)
	}
}

// sendSlowly sends bytes as slowly as a rule wants it, or cuts them off.
func (d *diskConn) sendSlowly(b []byte, f *diskFate) {
	cut := f != nil && f.Reset != nil && *f.Reset < int64(len(b))
	if cut {
		b = b[:*f.Reset]
	}
	for len(b) > 0 {
		part := b
		if f != nil && f.Rate > 0 {
			part = b[:min(int64(len(b)), max(1, f.Rate/20))] // a twentieth of a second
			time.Sleep(time.Second * time.Duration(len(part)) / time.Duration(f.Rate))
		}
		if _, err := d.c.Write(part); err != nil {
			return
		}
		b = b[len(part):]
	}
	if cut {
		d.reset()
	}
}

// sendFile lets the kernel copy a piece of a file to the client.
func (d *diskConn) sendFile(h *diskHandle, top []byte, off, n int64) {
	d.send.Lock()
	defer d.send.Unlock()
	_, err := d.c.Write(top)
	if err == nil {
		_, err = h.file.Seek(off, io.SeekStart)
	}
	var sent int64
	if err == nil {
		sent, err = io.CopyN(d.c, h.file, n)
	}
	if err != nil || sent < n {
		_ = d.c.Close() // half an answer can only be cut off
	}
}

func (h *diskHandle) write(head diskHead, p []byte) error {
	if uint64(len(p)) != head.sectors*sectorSize {
		return vix(vixInvalidArg, "%d bytes for %d sectors", len(p), head.sectors)
	}
	if err := h.within(head); err != nil {
		return err
	}
	if h.readOnly {
		return vix(vixReadOnly, "the disk is open for reading alone")
	}
	if err := h.valid(); err != nil {
		return err
	}
	disk := &GuestDisk{h.p.s, h.vs, h.key}
	_, err := disk.WriteAt(p, int64(head.sector)*sectorSize)
	var r *refusal
	if errors.As(err, &r) {
		return vix(vixDiskFull, "%v", err)
	}
	return err
}

// blocks answers QueryAllocatedBlocks: chunks that hold data, as the file
// system knows it, in blocks of VMFS.
func (h *diskHandle) blocks(head diskHead, payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, vix(vixInvalidArg, "no chunk size")
	}
	chunk := binary.LittleEndian.Uint64(payload)
	switch {
	case chunk < minChunk || chunk > maxChunk || chunk&(chunk-1) != 0:
		return nil, vix(vixInvalidArg, "chunks of %d sectors: want a power of two from %d to %d", chunk, minChunk, maxChunk)
	case head.sector%chunk != 0 || head.sectors%chunk != 0:
		return nil, vix(vixInvalidArg, "sectors %d+%d: not whole chunks of %d", head.sector, head.sectors, chunk)
	case head.sectors/chunk > maxChunks:
		return nil, vix(vixInvalidArg, "%d chunks: at most %d", head.sectors/chunk, maxChunks)
	}
	if err := h.within(head); err != nil {
		return nil, err
	}
	if err := h.valid(); err != nil {
		return nil, err
	}
	areas, err := h.allocated()
	if err != nil {
		return nil, err
	}
	size := int64(chunk) * sectorSize
	asked := Range{int64(head.sector) * sectorSize, int64(head.sectors) * sectorSize}
	var out []byte
	for _, r := range align(areas, size, (h.size+size-1)/size*size) {
		from, to := max(r.Offset, asked.Offset), min(r.End(), asked.End())
		if from >= to {
			continue
		}
		out = binary.LittleEndian.AppendUint64(out, uint64(from/sectorSize))
		out = binary.LittleEndian.AppendUint64(out, uint64((to-from)/sectorSize))
	}
	return out, nil
}

// allocated is where the disk has blocks of its own: a thick one everywhere.
func (h *diskHandle) allocated() ([]Range, error) {
	if !h.layer.root().thin {
		return []Range{{0, h.size}}, nil
	}
	h.vs.io.RLock()
	defer h.vs.io.RUnlock()
	data, err := h.layer.data()
	if err != nil {
		return nil, err
	}
	return align(data, vmfsBlock, h.size), nil
}

// close lets go of the disk.
func (h *diskHandle) close() {
	h.p.mu.Lock()
	delete(h.p.handles, h)
	h.p.mu.Unlock()
	h.once.Do(func() {})
	if h.file != nil {
		_ = h.file.Close()
	}
}

// abandon is the end of a handle whose client left without closing it: the
// host notices only after a while, and keeps the lock until then.
func (h *diskHandle) abandon() {
	time.AfterFunc(h.p.s.cfg.DiskLockTimeout, h.close)
}
