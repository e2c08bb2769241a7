// Package transporttest is what every transport must do, as one suite.
//
// A transport's own test makes a VM with the disks that the suite asks for,
// takes a snapshot of it, and hands over an Opener; the suite looks at the
// bytes, at what is left behind, and at how failures are told.
package transporttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
)

// A Fixture is one VM and a transport that serves it.
type Fixture struct {
	Opener transport.Opener
	// VM is frozen; its disks hold the images, in their order.
	VM transport.Frozen
	// Refused are VMs that the transport must refuse, by why.
	Refused map[string]transport.Frozen
	// Cut breaks the connection of the next transfer after so many bytes.
	// It may be nil.
	Cut func(after int64)
	// Settled fails the test if a closed session left something behind. It
	// may be nil.
	Settled func(t *testing.T)
}

// Run runs the suite. It calls setup once, for a VM with disks of the given
// content.
func Run(t *testing.T, setup func(t *testing.T, images [][]byte) Fixture) {
	images := makeImages()
	s := &suite{Fixture: setup(t, images), images: images}
	if len(s.VM.Disks) != len(images) {
		t.Fatalf("fixture has %d disks, want %d", len(s.VM.Disks), len(images))
	}
	for _, c := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"disks have their sizes and bytes", s.content},
		{"extents hold all data", s.extents},
		{"disks are read side by side", s.sideBySide},
		{"reads of one disk run side by side", s.concurrentReads},
		{"what is not on the disk cannot be read", s.beyond},
		{"what comes is counted", s.counted},
		{"closing twice does no harm", s.closeTwice},
		{"a session can end before its disks were read", s.closeEarly},
		{"an unknown disk is an error", s.unknown},
		{"a context that has ended ends everything", s.cancelled},
		{"a broken connection never passes for the end", s.cut},
		{"what cannot be served is refused", s.refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t)
			if s.Settled != nil && !t.Failed() {
				s.Settled(t)
			}
		})
	}
}

type suite struct {
	Fixture
	images [][]byte
}

// makeImages returns disks of the sizes and fillings that make trouble.
func makeImages() [][]byte {
	random := func(b []byte) { rand.NewChaCha8([32]byte{7}).Read(b) }
	full := make([]byte, 5<<20)
	random(full)
	odd := make([]byte, 3<<20+3*512) // no multiple of a grain, or of a kilobyte
	random(odd[1<<20:])
	empty := make([]byte, 2<<20)
	sparse := make([]byte, 70<<20) // more than two grain tables
	for _, off := range []int{0, 1<<20 - 512, 33 << 20, len(sparse) - 512} {
		random(sparse[off : off+512])
	}
	small := bytes.Repeat([]byte("vapp"), 512/4)
	return [][]byte{full, odd, empty, sparse, small}
}

func (s *suite) open(t *testing.T) transport.Session {
	t.Helper()
	session, err := s.Opener.Open(t.Context(), s.VM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func (s *suite) disk(t *testing.T, session transport.Session, n int) transport.Reader {
	t.Helper()
	r, err := session.Disk(t.Context(), s.VM.Disks[n].Key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// done closes a session while its test still runs, and must not fail.
func done(t *testing.T, session transport.Session) {
	t.Helper()
	if err := session.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// ReadAll reads a disk whole, whatever kind of Reader it is.
func ReadAll(ctx context.Context, r transport.Reader) ([]byte, error) {
	image := make([]byte, r.Size())
	switch r := r.(type) {
	case transport.Source:
		set, err := r.Extents(ctx, extent.Extent{Length: r.Size()})
		if err != nil {
			return nil, err
		}
		for _, e := range set {
			if err := r.ReadAt(ctx, image[e.Offset:e.End()], e.Offset); err != nil {
				return nil, err
			}
		}
		return image, nil
	case transport.Stream:
		return image, readStream(ctx, r, image)
	}
	return nil, errors.New("neither a Source nor a Stream")
}

func readStream(ctx context.Context, r transport.Stream, image []byte) error {
	for end := int64(0); ; {
		off, data, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if off < end || off+int64(len(data)) > r.Size() {
			return errors.New("stream does not ascend within the disk")
		}
		end = off + int64(copy(image[off:], data))
	}
}

func (s *suite) content(t *testing.T) {
	session := s.open(t)
	for n, want := range s.images {
		r := s.disk(t, session, n)
		if r.Size() != int64(len(want)) {
			t.Errorf("disk %d: got %d bytes, want %d", n, r.Size(), len(want))
		}
		got, err := ReadAll(t.Context(), r)
		if err != nil {
			t.Errorf("disk %d: %v", n, err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("disk %d: bytes differ", n)
		}
		if err := r.Close(); err != nil {
			t.Errorf("disk %d: close: %v", n, err)
		}
	}
	done(t, session)
}

// extents asks for ranges and expects answers within them, with all data.
func (s *suite) extents(t *testing.T) {
	session := s.open(t)
	defer done(t, session)
	for n, image := range s.images {
		r, ok := s.disk(t, session, n).(transport.Source)
		if !ok {
			t.Skip("a stream has no extents")
		}
		size := r.Size()
		for _, within := range []extent.Extent{{Length: size}, {Offset: size / 3, Length: size / 3}, {Offset: size - 512, Length: 1 << 20}} {
			set, err := r.Extents(t.Context(), within)
			if err != nil {
				t.Fatal(err)
			}
			on := extent.Of(within).Clip(extent.Extent{Length: size})
			if outside := set.Subtract(on); len(outside) > 0 {
				t.Errorf("disk %d: %v: answer has %v", n, within, outside)
			}
			for _, hole := range on.Subtract(set) {
				if len(bytes.Trim(image[hole.Offset:hole.End()], "\x00")) > 0 {
					t.Errorf("disk %d: %v: data in what is called a hole: %v", n, within, hole)
				}
			}
		}
	}
}

func (s *suite) sideBySide(t *testing.T) {
	session := s.open(t)
	var all sync.WaitGroup
	for n, want := range s.images {
		r := s.disk(t, session, n)
		all.Go(func() {
			if got, err := ReadAll(t.Context(), r); err != nil {
				t.Errorf("disk %d: %v", n, err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("disk %d: bytes differ", n)
			}
		})
	}
	all.Wait()
	done(t, session)
}

func (s *suite) concurrentReads(t *testing.T) {
	session := s.open(t)
	defer done(t, session)
	r, ok := s.disk(t, session, 1).(transport.Source)
	if !ok {
		t.Skip("a stream is read in order")
	}
	image := s.images[1]
	var all sync.WaitGroup
	for i := range 8 {
		rnd := rand.New(rand.NewPCG(1, uint64(i)))
		all.Go(func() {
			for range 16 {
				off := rnd.IntN(len(image))
				p := make([]byte, rnd.IntN(min(len(image)-off+1, 300<<10)))
				if err := r.ReadAt(t.Context(), p, int64(off)); err != nil {
					t.Errorf("%d bytes at %d: %v", len(p), off, err)
				} else if !bytes.Equal(p, image[off:off+len(p)]) {
					t.Errorf("%d bytes at %d differ", len(p), off)
				}
			}
		})
	}
	all.Wait()
}

func (s *suite) beyond(t *testing.T) {
	session := s.open(t)
	defer done(t, session)
	r, ok := s.disk(t, session, 1).(transport.Source)
	if !ok {
		t.Skip("a stream has no offsets")
	}
	for _, off := range []int64{-1, r.Size() - 511, r.Size(), 1 << 62} {
		if err := r.ReadAt(t.Context(), make([]byte, 512), off); err == nil {
			t.Errorf("512 bytes at %d of %d were read", off, r.Size())
		}
	}
}

func (s *suite) counted(t *testing.T) {
	session := s.open(t)
	r := s.disk(t, session, 0)
	if _, err := ReadAll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// The disk's bytes are random: no compression makes them fewer.
	if got, least := r.Transferred(), r.Size(); got < least {
		t.Errorf("got %d bytes, want at least %d", got, least)
	}
	done(t, session)
}

func (s *suite) closeTwice(t *testing.T) {
	session := s.open(t)
	r := s.disk(t, session, 0)
	if _, err := ReadAll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("close disk: %v", err)
		}
	}
	done(t, session)
	done(t, session)
}

func (s *suite) closeEarly(t *testing.T) {
	done(t, s.open(t))
	session := s.open(t)
	r := s.disk(t, session, 0)
	if stream, ok := r.(transport.Stream); ok {
		if _, _, err := stream.Next(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r.Close()
	done(t, session)
	if _, err := ReadAll(t.Context(), r); err == nil {
		t.Error("a closed disk was read")
	}
}

func (s *suite) unknown(t *testing.T) {
	session := s.open(t)
	if _, err := session.Disk(t.Context(), 99999); err == nil || errors.Is(err, transport.ErrRefused) {
		t.Errorf("got %v, want an error that is no refusal", err)
	}
	done(t, session)
}

func (s *suite) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if session, err := s.Opener.Open(ctx, s.VM); !errors.Is(err, context.Canceled) {
		t.Errorf("open: got %v, want %v", err, context.Canceled)
		if err == nil {
			session.Close()
		}
	}
	session := s.open(t)
	r := s.disk(t, session, 0)
	if _, err := ReadAll(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("read: got %v, want %v", err, context.Canceled)
	}
	r.Close()
	done(t, session)
}

func (s *suite) cut(t *testing.T) {
	if s.Cut == nil {
		t.Skip("the fixture cannot break connections")
	}
	for _, after := range []int64{0, 100, 1 << 20, 4 << 20} {
		session := s.open(t)
		s.Cut(after)
		r, err := session.Disk(t.Context(), s.VM.Disks[0].Key)
		if err != nil {
			session.Close()
			continue // told at once
		}
		got, err := ReadAll(t.Context(), r)
		if _, isStream := r.(transport.Stream); isStream && err == nil {
			t.Errorf("cut after %d bytes: the stream ended as if it were whole", after)
		}
		if err == nil && !bytes.Equal(got, s.images[0]) {
			t.Errorf("cut after %d bytes: bytes differ", after)
		}
		r.Close()
		done(t, session)
	}
}

func (s *suite) refused(t *testing.T) {
	for why, vm := range s.Refused {
		session, err := s.Opener.Open(t.Context(), vm)
		if !errors.Is(err, transport.ErrRefused) {
			t.Errorf("%s: got %v, want %v", why, err, transport.ErrRefused)
		}
		if err == nil {
			session.Close()
		}
	}
}
