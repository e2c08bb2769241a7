package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A door is a transport that counts its open sessions.
type door struct {
	name       string
	opening    func(ctx context.Context) error // nil: at once
	open, most atomic.Int64
	refuses    func(key int32) bool
}

func (d *door) Name() string { return d.name }

func (d *door) Open(ctx context.Context, _ transport.Frozen) (transport.Session, error) {
	if d.opening != nil {
		if err := d.opening(ctx); err != nil {
			return nil, err
		}
	}
	now := d.open.Add(1)
	for most := d.most.Load(); now > most && !d.most.CompareAndSwap(most, now); most = d.most.Load() {
	}
	return &room{door: d}, nil
}

type room struct {
	door   *door
	closed atomic.Bool
}

func (r *room) Disk(_ context.Context, key int32) (transport.Reader, error) {
	switch {
	case r.closed.Load():
		return nil, errors.New("opened in a session that is closed")
	case r.door.refuses != nil && r.door.refuses(key):
		return nil, fmt.Errorf("disk %d: %w", key, transport.ErrRefused)
	}
	return &pieces{}, nil
}

func (r *room) Close() error {
	if !r.closed.Swap(true) {
		r.door.open.Add(-1)
	}
	return nil
}

func through(doors ...*door) *openers {
	r := &run{Deps: Deps{Logger: slog.New(slog.DiscardHandler), Openers: func(*vsphere.Client) (out []transport.Opener) {
		for _, d := range doors {
			out = append(out, d)
		}
		return out
	}}}
	return r.sessions(&vmRun{rec: restorepoint.VM{Ref: restorepoint.Ref{Name: "db01"}}, config: &vsphere.VMConfig{}, snapshot: &vsphere.Snapshot{}})
}

// TestADiskThatHasItsTransportDoesNotWaitForAnother has one disk open a
// transport of a host that does not answer until another disk is done.
func TestADiskThatHasItsTransportDoesNotWaitForAnother(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	asked, answers := make(chan struct{}), make(chan struct{})
	near := &door{name: "near", refuses: func(key int32) bool { return key == 2001 }}
	far := &door{name: "far", opening: func(ctx context.Context) error {
		close(asked)
		select {
		case <-answers:
			return nil
		case <-ctx.Done():
			return errors.New("nobody was done before it answered")
		}
	}}
	o := through(near, far)
	_, first, _, _, err := o.disk(ctx, 2000, nil)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		_, h, name, _, err := o.disk(ctx, 2001, nil)
		if err != nil || name != "far" {
			t.Errorf("the slow one: %s %v", name, err)
			return
		}
		h.release()
	})
	group.Go(func() {
		defer close(answers)
		<-asked
		_, h, _, _, err := o.disk(ctx, 2002, nil)
		if err != nil {
			t.Errorf("a disk of the open transport: %v", err)
			return
		}
		h.release()
		first.retire()
		first.release()
		_, h, _, _, err = o.disk(ctx, 2000, nil)
		if err != nil || h == first {
			t.Errorf("one that broke off: %v", err)
			return
		}
		h.release()
	})
	group.Wait()
	if err := o.close(); err != nil || near.open.Load() != 0 || far.open.Load() != 0 || near.most.Load() != 1 {
		t.Errorf("%v; %d and %d left open, %d at once", err, near.open.Load(), far.open.Load(), near.most.Load())
	}
}

// TestATransportIsOpenOnceAndNeverLeftOpen has many disks come and go, some
// of whose transfers break off or are cancelled.
func TestATransportIsOpenOnceAndNeverLeftOpen(t *testing.T) {
	doors := []*door{
		{name: "vddk", refuses: func(key int32) bool { return key%3 == 0 }},
		{name: "datastore", refuses: func(key int32) bool { return key%5 == 0 }},
		{name: "nfc"},
	}
	for _, d := range doors {
		d.opening = func(ctx context.Context) error {
			time.Sleep(rand.N(200 * time.Microsecond))
			if rand.IntN(8) == 0 {
				return errors.Join(transport.ErrBroken, ctx.Err())
			}
			return nil // even if it was cancelled
		}
	}
	o := through(doors...)
	var group sync.WaitGroup
	for key := range int32(24) {
		group.Go(func() {
			for range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(2*time.Millisecond))
				_, h, name, _, err := o.disk(ctx, key, nil)
				switch {
				case err == nil:
					time.Sleep(rand.N(100 * time.Microsecond))
					if rand.IntN(3) == 0 {
						h.retire()
					}
					h.release()
				case ctx.Err() == nil && !errors.Is(err, transport.ErrBroken):
					t.Errorf("disk %d through %q: %v", key, name, err)
				}
				cancel()
			}
		})
	}
	group.Wait()
	if err := o.close(); err != nil {
		t.Error(err)
	}
	for _, d := range doors {
		if d.open.Load() != 0 || d.most.Load() != 1 {
			t.Errorf("%s: %d left open, %d at once", d.name, d.open.Load(), d.most.Load())
		}
	}
}
