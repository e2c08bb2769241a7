package transporttest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
)

// A TargetFixture is one VM that is off, and a transport that writes its
// disks.
type TargetFixture struct {
	Opener transport.TargetOpener
	VM     transport.Idle // its disks hold the images, in their order
	// Holds returns what a disk holds, read by other means.
	Holds func(t *testing.T, disk int) []byte
	// Refused are VMs that the transport must refuse, by why.
	Refused map[string]transport.Idle
	// Settled fails the test if a closed session left something behind. It
	// may be nil.
	Settled func(t *testing.T)
}

// RunTarget runs the suite of what is written into disks that are there.
func RunTarget(t *testing.T, setup func(t *testing.T, images [][]byte) TargetFixture) {
	random := func(n int) []byte {
		b := make([]byte, n)
		rand.NewChaCha8([32]byte{5}).Read(b)
		return b
	}
	images := [][]byte{random(6 << 20), make([]byte, 3<<20+512), bytes.Repeat([]byte("vapp"), 512/4)}
	s := &targetSuite{TargetFixture: setup(t, images), images: images}
	for _, c := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"what is there is read", s.read},
		{"what is written is there, and nothing else changes", s.write},
		{"writes side by side do not disturb each other", s.sideBySide},
		{"several disks are written at once", s.several},
		{"zeros are zeros", s.zero},
		{"what was flushed is there for the next who opens it", s.reopen},
		{"what is not on the disk is not written", s.beyond},
		{"parts of sectors are not written", s.unaligned},
		{"an unknown disk is an error", s.unknown},
		{"a closed disk takes nothing", s.closed},
		{"a context that has ended ends everything", s.cancelled},
		{"what cannot be written is refused", s.refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t)
			for n, want := range s.images {
				if got := s.Holds(t, n); !bytes.Equal(got, want) {
					t.Errorf("disk %d: holds other bytes than it should", n)
				}
			}
			if s.Settled != nil && !t.Failed() {
				s.Settled(t)
			}
		})
	}
}

// A targetSuite knows in images what the disks should hold.
type targetSuite struct {
	TargetFixture
	images [][]byte
}

func (s *targetSuite) open(t *testing.T) transport.TargetSession {
	t.Helper()
	session, err := s.Opener.OpenTarget(t.Context(), s.VM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func (s *targetSuite) target(t *testing.T, session transport.TargetSession, n int) transport.Target {
	t.Helper()
	d, err := session.Target(t.Context(), s.VM.Disks[n].Key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if d.Size() != int64(len(s.images[n])) {
		t.Errorf("disk %d: got %d bytes, want %d", n, d.Size(), len(s.images[n]))
	}
	return d
}

// done flushes and closes what was written.
func (s *targetSuite) done(t *testing.T, session transport.TargetSession, targets ...transport.Target) {
	t.Helper()
	for _, d := range targets {
		if err := d.Flush(t.Context()); err != nil {
			t.Errorf("flush: %v", err)
		}
		for range 2 {
			if err := d.Close(); err != nil {
				t.Errorf("close disk: %v", err)
			}
		}
	}
	for range 2 {
		if err := session.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// put writes to a disk, and to what it should hold.
func (s *targetSuite) put(t *testing.T, d transport.Target, n int, p []byte, off int) {
	t.Helper()
	if err := d.WriteAt(t.Context(), p, int64(off)); err != nil {
		t.Errorf("%d bytes at %d: %v", len(p), off, err)
		return
	}
	copy(s.images[n][off:], p)
}

func (s *targetSuite) same(t *testing.T, d transport.Target, n int) {
	t.Helper()
	got := make([]byte, d.Size())
	if err := d.ReadAt(t.Context(), got, 0); err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, s.images[n]) {
		t.Errorf("disk %d: reads other bytes than it should hold", n)
	}
}

func (s *targetSuite) read(t *testing.T) {
	session := s.open(t)
	d := s.target(t, session, 0)
	s.same(t, d, 0)
	p := make([]byte, 777)
	if err := d.ReadAt(t.Context(), p, 1001); err != nil || !bytes.Equal(p, s.images[0][1001:1778]) {
		t.Errorf("777 bytes at 1001: %v", err)
	}
	s.done(t, session, d)
}

func (s *targetSuite) write(t *testing.T) {
	session := s.open(t)
	for n := range s.images {
		d := s.target(t, session, n)
		size := len(s.images[n])
		s.put(t, d, n, bytes.Repeat([]byte{byte(n + 1)}, 512), 0)
		s.put(t, d, n, bytes.Repeat([]byte{byte(n + 2)}, 512), size-512)
		if size > 3<<20 {
			s.put(t, d, n, bytes.Repeat([]byte{byte(n + 3)}, 2<<20+512), 1<<20-512)
		}
		if d.Transferred() == 0 {
			t.Error("nothing is counted")
		}
		s.same(t, d, n)
		if err := d.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		d.Close()
	}
	s.done(t, session)
}

func (s *targetSuite) sideBySide(t *testing.T) {
	session := s.open(t)
	d := s.target(t, session, 0)
	var all sync.WaitGroup
	const parts = 12
	length := len(s.images[0]) / parts / 512 * 512
	for i := range parts {
		rnd := rand.NewChaCha8([32]byte{9, byte(i)})
		all.Go(func() {
			p := make([]byte, length)
			rnd.Read(p)
			s.put(t, d, 0, p, i*length)
		})
	}
	all.Wait()
	s.same(t, d, 0)
	s.done(t, session, d)
}

func (s *targetSuite) several(t *testing.T) {
	session := s.open(t)
	var all sync.WaitGroup
	var targets []transport.Target
	for n := range s.images {
		d := s.target(t, session, n)
		targets = append(targets, d)
		all.Go(func() { s.put(t, d, n, bytes.Repeat([]byte{0x77}, 512), 0) })
	}
	all.Wait()
	s.done(t, session, targets...)
}

func (s *targetSuite) zero(t *testing.T) {
	session := s.open(t)
	d := s.target(t, session, 0)
	for _, e := range []extent.Extent{{Offset: 512, Length: 512}, {Offset: 1 << 20, Length: 3 << 20}, {Offset: d.Size() - 512, Length: 512}} {
		if err := d.Zero(t.Context(), e); err != nil {
			t.Errorf("%v: %v", e, err)
		}
		clear(s.images[0][e.Offset:e.End()])
	}
	s.same(t, d, 0)
	s.done(t, session, d)
}

func (s *targetSuite) reopen(t *testing.T) {
	session := s.open(t)
	d := s.target(t, session, 1)
	s.put(t, d, 1, bytes.Repeat([]byte{0x42}, 1<<20), 1<<20)
	s.done(t, session, d)
	session = s.open(t)
	d = s.target(t, session, 1)
	s.same(t, d, 1)
	s.done(t, session, d)
}

func (s *targetSuite) beyond(t *testing.T) {
	session := s.open(t)
	d := s.target(t, session, 1)
	for _, off := range []int64{-512, d.Size(), d.Size() - 512, 1 << 62} {
		p := bytes.Repeat([]byte{1}, 1024)
		if err := d.WriteAt(t.Context(), p, off); err == nil {
			t.Errorf("1024 bytes at %d of %d were written", off, d.Size())
		}
		if err := d.Zero(t.Context(), extent.Extent{Offset: off, Length: 1024}); err == nil {
			t.Errorf("1024 bytes at %d of %d were zeroed", off, d.Size())
		}
		if err := d.ReadAt(t.Context(), p, off); err == nil {
			t.Errorf("1024 bytes at %d of %d were read", off, d.Size())
		}
	}
	s.done(t, session, d)
}

func (s *targetSuite) unaligned(t *testing.T) {
	session := s.open(t)
	d := s.target(t, session, 0)
	for _, e := range []extent.Extent{{Offset: 1, Length: 512}, {Offset: 512, Length: 511}} {
		if err := d.WriteAt(t.Context(), make([]byte, e.Length), e.Offset); err == nil {
			t.Errorf("%v was written", e)
		}
		if err := d.Zero(t.Context(), e); err == nil {
			t.Errorf("%v was zeroed", e)
		}
	}
	s.done(t, session, d)
}

func (s *targetSuite) unknown(t *testing.T) {
	session := s.open(t)
	if _, err := session.Target(t.Context(), 99999); err == nil || errors.Is(err, transport.ErrRefused) {
		t.Errorf("got %v, want an error that is no refusal", err)
	}
	s.done(t, session)
}

func (s *targetSuite) closed(t *testing.T) {
	session := s.open(t)
	d := s.target(t, session, 0)
	s.done(t, session, d)
	p := make([]byte, 512)
	for step, err := range map[string]error{
		"write": d.WriteAt(t.Context(), p, 0), "zero": d.Zero(t.Context(), extent.Extent{Length: 512}),
		"read": d.ReadAt(t.Context(), p, 0), "flush": d.Flush(t.Context()),
	} {
		if err == nil {
			t.Errorf("%s: a closed disk takes it", step)
		}
	}
	if _, err := session.Target(t.Context(), s.VM.Disks[0].Key); err == nil {
		t.Error("a closed session opens disks")
	}
}

func (s *targetSuite) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if session, err := s.Opener.OpenTarget(ctx, s.VM); !errors.Is(err, context.Canceled) {
		t.Errorf("open: got %v, want %v", err, context.Canceled)
		if err == nil {
			session.Close()
		}
	}
	session := s.open(t)
	if _, err := session.Target(ctx, s.VM.Disks[0].Key); !errors.Is(err, context.Canceled) {
		t.Errorf("open disk: got %v, want %v", err, context.Canceled)
	}
	d := s.target(t, session, 0)
	p := make([]byte, 512)
	for step, err := range map[string]error{
		"write": d.WriteAt(ctx, p, 0), "zero": d.Zero(ctx, extent.Extent{Length: 512}), "read": d.ReadAt(ctx, p, 0), "flush": d.Flush(ctx),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", step, err, context.Canceled)
		}
	}
	s.done(t, session, d)
}

func (s *targetSuite) refused(t *testing.T) {
	for why, vm := range s.Refused {
		session, err := s.Opener.OpenTarget(t.Context(), vm)
		if err == nil { // it may show with the disk
			_, err = session.Target(t.Context(), slices.Clone(vm.Disks)[0].Key)
			session.Close()
		}
		if !errors.Is(err, transport.ErrRefused) {
			t.Errorf("%s: got %v, want %v", why, err, transport.ErrRefused)
		}
	}
}
