package nfc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/nfc"
	"github.com/vappvault/vappvault/internal/transport/transporttest"
)

// ruled is a world whose transfers go wrong by rules.
func ruled(t *testing.T) (*world, *fault.Set) {
	t.Helper()
	rules := fault.New(1)
	return newWorld(t, vcenter.Config{Rules: rules, LeaseTimeout: 5 * time.Second}), rules
}

// amiss makes transfers of a kind go wrong until the test ends.
func amiss(t *testing.T, rules *fault.Set, method string, e fault.Effect) {
	t.Helper()
	id, err := rules.Add(fault.Rule{Service: fault.NFC, Operation: method, Effect: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rules.Clear(id) })
}

// patience is short where it is to end, and long where it is not.
func patience(e fault.Effect) time.Duration {
	if e.Hang || e.Rate > 0 {
		return 500 * time.Millisecond
	}
	return time.Minute
}

func TestWhatAHostDoesToADownload(t *testing.T) {
	t.Parallel()
	w, rules := ruled(t)
	image := random(4 << 20)
	cut := int64(100 << 10)
	for _, c := range []struct {
		name   string
		effect fault.Effect
		want   error
	}{
		{"the host refuses the session", fault.Effect{Status: http.StatusForbidden}, transport.ErrRefused},
		{"the host does not know the session", fault.Effect{Status: http.StatusUnauthorized}, transport.ErrRefused},
		{"the ticket counts no more", fault.Effect{Status: http.StatusNotFound}, transport.ErrBroken},
		{"the host has too much to do", fault.Effect{Status: http.StatusServiceUnavailable}, transport.ErrOverloaded},
		{"the host is at a loss", fault.Effect{Status: http.StatusInternalServerError}, transport.ErrBroken},
		{"the host does not answer", fault.Effect{Hang: true}, transport.ErrBroken},
		{"the link stalls", fault.Effect{Rate: 1}, transport.ErrBroken},
		{"the connection is cut", fault.Effect{Reset: &cut}, transport.ErrBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			vm := w.vm(t, c.name, [][]byte{image})
			frozen := freeze(t, vm)
			amiss(t, rules, http.MethodGet, c.effect)
			session, err := nfc.NewHastyOpener(w.client, patience(c.effect)).Open(t.Context(), frozen)
			if err != nil {
				t.Fatal(err)
			}
			r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
			if err == nil {
				_, err = transporttest.ReadAll(t.Context(), r)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			for _, other := range []error{transport.ErrRefused, transport.ErrOverloaded} {
				if other != c.want && errors.Is(err, other) {
					t.Errorf("got %v, which is %v too", err, other)
				}
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
			unlocked(t, vm)
		})
	}
	session, err := nfc.NewOpener(w.client).Open(t.Context(), freeze(t, w.vm(t, "web01", [][]byte{image})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	r, err := session.Disk(t.Context(), 2000)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := transporttest.ReadAll(t.Context(), r); err != nil || !bytes.Equal(got, image) {
		t.Errorf("when all is well again: bytes differ, or %v", err)
	}
}

// half opens a disk and reads a part of it.
func half(t *testing.T, w *world, frozen transport.Frozen) (transport.Session, transport.Stream, []byte) {
	t.Helper()
	session, err := nfc.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	stream, got := r.(transport.Stream), make([]byte, r.Size())
	off, data, err := stream.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	copy(got[off:], data)
	return session, stream, got
}

// rest reads what half left.
func rest(ctx context.Context, stream transport.Stream, got []byte) error {
	for {
		off, data, err := stream.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		copy(got[off:], data)
	}
}

func TestASessionOfVCenterThatEndsInMidStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{LeaseTimeout: 5 * time.Second})
	image := random(24 << 20)
	vm := w.vm(t, "web01", [][]byte{image})
	session, stream, got := half(t, w, freeze(t, vm))
	vim := w.client.Client()
	if _, err := methods.Logout(t.Context(), vim, &types.Logout{This: *vim.ServiceContent.SessionManager}); err != nil {
		t.Fatal(err)
	}
	// Longer than the lease lives unless it is kept alive under another session.
	time.Sleep(6 * time.Second)
	if err := rest(t.Context(), stream, got); err != nil && !errors.Is(err, transport.ErrBroken) {
		t.Errorf("got %v, want the disk, or %v", err, transport.ErrBroken)
	} else if err == nil && !bytes.Equal(got, image) {
		t.Error("bytes differ")
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	unlocked(t, vm)
}

func TestALeaseThatEndsInMidStreamBreaksIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{LeaseTimeout: 5 * time.Second})
	vm := w.vm(t, "web01", [][]byte{random(64 << 20)})
	session, stream, got := half(t, w, freeze(t, vm))
	w.sim.Faults().FailCall("HttpNfcLeaseProgress", 1000, &types.ManagedObjectNotFound{})
	time.Sleep(2 * time.Second) // two reports of progress
	if err := rest(t.Context(), stream, got); !errors.Is(err, transport.ErrBroken) || !strings.Contains(err.Error(), "lease") {
		t.Errorf("got %v, want %v, and that the lease is to blame", err, transport.ErrBroken)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

func TestASnapshotThatIsNotThereAnyMoreCannotBeExported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{})
	vm := w.vm(t, "web01", [][]byte{random(1 << 20)})
	frozen := freeze(t, vm)
	if err := vm.RemoveSnapshot(t.Context(), frozen.Snapshot); err != nil {
		t.Fatal(err)
	}
	if _, err := nfc.NewOpener(w.client).Open(t.Context(), frozen); err == nil || !strings.Contains(err.Error(), frozen.Snapshot) {
		t.Errorf("got %v, want an error that names the snapshot", err)
	}
}

func TestWhatAHostDoesToAnUpload(t *testing.T) {
	t.Parallel()
	cut := int64(100 << 10)
	for _, c := range []struct {
		name   string
		effect fault.Effect
		want   string
	}{
		{"the host refuses the session", fault.Effect{Status: http.StatusForbidden}, "403"},
		{"the host does not answer", fault.Effect{Hang: true}, "took nothing"},
		{"the link stalls", fault.Effect{Rate: 1}, "took nothing"},
		{"the connection is cut", fault.Effect{Reset: &cut}, "upload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, rules := ruled(t)
			image := random(24 << 20) // more than fits into sockets
			vm := w.vm(t, "web01", [][]byte{image})
			for _, method := range []string{http.MethodPost, http.MethodPut} {
				amiss(t, rules, method, c.effect)
			}
			_, err := nfc.HastyImporter(patience(c.effect)).Import(t.Context(), w.client,
				w.rebuild(t, vm, "web01-restored"), contents(t, vm, [][]byte{image}), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
			left, err := w.client.FindVMs(t.Context(), "web01-restored")
			if err != nil || len(left) > 0 {
				t.Errorf("%d VMs were left, %v", len(left), err)
			}
		})
	}
}
