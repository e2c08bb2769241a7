package backup

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
)

// TestNoHoleIsLeftOutThatTheCheckpointHoldsDataIn plays disks of a few blocks
// of eight bytes each: a stream is killed anywhere, its checkpoint holds more
// than it says, the guest writes, zeroes and unmaps. What a source that goes on
// leaves out is in every case as the disk is now, even if change tracking were
// to say nothing.
func TestNoHoleIsLeftOutThatTheCheckpointHoldsDataIn(t *testing.T) {
	const cells, count = 8, 12
	const cell = block / cells
	const capacity = count*block - 3*cell // the last block is short
	const all = capacity / cell
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		set := func(from []bool) (out extent.Set) {
			for i, in := range from {
				if in {
					out = out.Add(extent.Extent{Offset: int64(i) * cell, Length: cell})
				}
			}
			return out
		}
		then, now, base := make([]byte, all), make([]byte, all), make([]byte, all)
		remaining, changed, holds, stored := make([]bool, all), make([]bool, all), make([]bool, all), make([]bool, all)
		reached, tells := rng.IntN(count+1), rng.IntN(2) == 0
		for b := range count {
			came := b < reached && rng.IntN(4) > 0
			ahead := !came && rng.IntN(4) == 0 // stored, and called missing
			data, held := rng.IntN(2) == 0, false
			for i := b * cells; i < min((b+1)*cells, all); i++ {
				if data && rng.IntN(2) == 0 {
					then[i] = byte(1 + rng.IntN(9))
				}
				now[i] = then[i]
				if rng.IntN(6) == 0 {
					now[i] = byte(rng.IntN(2) * (10 + rng.IntN(9)))
					changed[i] = tells
				}
				if came || ahead {
					base[i] = then[i]
				}
				remaining[i] = !came
				holds[i] = now[i] != 0 || rng.IntN(8) == 0
				held = held || base[i] != 0
			}
			for i := b * cells; i < min((b+1)*cells, all); i++ {
				stored[i] = held // whole blocks, as the repository tells
			}
		}
		left := set(remaining).Union(set(changed))
		empty := holes(capacity, set(remaining).Subtract(set(changed)).Intersect(left), set(holds).Union(set(stored)))
		if len(empty.Subtract(set(remaining))) > 0 || len(empty.Intersect(set(changed))) > 0 {
			t.Fatalf("seed %d: %v is more than nobody has come to", seed, empty)
		}
		for _, e := range empty {
			if e.Offset%block != 0 || e.Length%block != 0 && e.End() != capacity {
				t.Fatalf("seed %d: %v is not whole blocks", seed, e)
			}
			at, end := e.Offset/cell, e.End()/cell
			if !bytes.Equal(base[at:end], now[at:end]) {
				t.Fatalf("seed %d: %v is left out and differs", seed, e)
			}
		}
		// And all that can be is left out.
		for b := range count {
			none := true
			for i := b * cells; i < min((b+1)*cells, all); i++ {
				none = none && remaining[i] && !changed[i] && !holds[i] && !stored[i]
			}
			if none != empty.Contains(int64(b)*block) {
				t.Fatalf("seed %d: block %d: left out %v, want %v", seed, b, !none, none)
			}
		}
	}
}
