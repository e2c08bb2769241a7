package vcenter

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// A tracker records what a guest writes to one disk, from the stun that
// turned tracking on. Its state is guarded by the VM's I/O lock.
//
// Every stun ends a generation: generation n holds the blocks written after
// change ID n was given out and before n+1 was. Change IDs therefore stay
// answerable when the snapshot they were read from is gone.
type tracker struct {
	epoch string
	seq   int64
	since map[int64]blockSet
	lost  int64 // change IDs below this one are forgotten
	known int   // how many ForgetChangeIDs have been heeded
}

func newTracker(known int) *tracker {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return &tracker{
		epoch: epoch(b[:]),
		seq:   1, since: map[int64]blockSet{1: {}}, known: known,
	}
}

// epoch writes 16 bytes the way that change IDs begin.
func epoch(b []byte) string {
	group := func(p []byte) string { return strings.TrimSpace(fmt.Sprintf("% x", p)) }
	return group(b[:8]) + "-" + group(b[8:])
}

// epochOf is the epoch with the bits of a UUID.
func epochOf(id string) string {
	u, _ := uuid.Parse(id)
	return epoch(u[:])
}

func (t *tracker) changeID() string { return t.epoch + "/" + strconv.FormatInt(t.seq, 10) }

// next begins a new generation.
func (t *tracker) next() {
	t.seq++
	t.since[t.seq] = blockSet{}
}

func (t *tracker) wrote(off, n int64) { t.since[t.seq].addBytes(off, n) }

// changed returns the blocks written from change ID id up to change ID to,
// and false when id is not one of this epoch's.
func (t *tracker) changed(id string, to int64) (blockSet, bool) {
	epoch, seq, ok := strings.Cut(id, "/")
	if !ok || epoch != t.epoch {
		return nil, false
	}
	from, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || from < 1 || from > to || from < t.lost {
		return nil, false
	}
	all := blockSet{}
	for n := from; n < to; n++ {
		all.union(t.since[n])
	}
	return all, true
}

// forgetUpTo heeds Faults.ForgetChangeIDs.
func (t *tracker) forgetUpTo(times int) {
	if times > t.known {
		t.known, t.lost = times, t.seq+1
	}
}
