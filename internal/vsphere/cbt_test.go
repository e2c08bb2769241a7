package vsphere

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/extent"
)

// A host answers QueryChangedDiskAreas with pages made up by a test: what a
// simulator would not do, but hosts have done.
type host func(q *types.QueryChangedDiskAreas) (types.DiskChangeInfo, error)

func (h host) RoundTrip(_ context.Context, req, res soap.HasFault) error {
	page, err := h(req.(*methods.QueryChangedDiskAreasBody).Req)
	res.(*methods.QueryChangedDiskAreasBody).Res = &types.QueryChangedDiskAreasResponse{Returnval: page}
	return err
}

const size = 1000

func asked(h host) (*Snapshot, Disk) {
	c := &Client{vim: &vim25.Client{RoundTripper: h}, log: slog.New(slog.DiscardHandler), pause: backoff}
	d := Disk{Key: 2000, Capacity: size, ChangeID: "52 ab/7", Thin: true}
	return &Snapshot{Ref: "snapshot-1", Disks: []Disk{d}, vm: c.VM("vm-1")}, d
}

// pages answers with the given pages in turn, whatever is asked.
func pages(list ...types.DiskChangeInfo) host {
	return func(*types.QueryChangedDiskAreas) (types.DiskChangeInfo, error) {
		if len(list) == 0 {
			return types.DiskChangeInfo{}, errors.New("asked once too often")
		}
		p := list[0]
		list = list[1:]
		return p, nil
	}
}

func page(start, length int64, areas ...types.DiskChangeExtent) types.DiskChangeInfo {
	return types.DiskChangeInfo{StartOffset: start, Length: length, ChangedArea: areas}
}

func area(start, length int64) types.DiskChangeExtent {
	return types.DiskChangeExtent{Start: start, Length: length}
}

func TestChangedCoversTheDisk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		pages []types.DiskChangeInfo
		want  extent.Set
		err   string
	}{
		{"one page", []types.DiskChangeInfo{page(0, size, area(10, 5))}, extent.Of(extent.Extent{Offset: 10, Length: 5}), ""},
		{"nothing changed", []types.DiskChangeInfo{page(0, size)}, nil, ""},
		{
			"an empty page is not the end",
			[]types.DiskChangeInfo{page(0, 400, area(0, 1)), page(400, 300), page(700, 300, area(900, 100))},
			extent.Of(extent.Extent{Offset: 0, Length: 1}, extent.Extent{Offset: 900, Length: 100}), "",
		},
		{
			"areas are sorted and joined",
			[]types.DiskChangeInfo{page(0, size, area(50, 10), area(0, 10), area(10, 40))},
			extent.Of(extent.Extent{Offset: 0, Length: 60}), "",
		},
		{
			"an area over the end of its page is taken",
			[]types.DiskChangeInfo{page(0, 500, area(490, 20)), page(500, 500)},
			extent.Of(extent.Extent{Offset: 490, Length: 20}), "",
		},
		{
			"an area over the end of the disk is clipped",
			[]types.DiskChangeInfo{page(0, size, area(990, 64))},
			extent.Of(extent.Extent{Offset: 990, Length: 10}), "",
		},
		{"no progress", []types.DiskChangeInfo{page(0, 500), page(500, 0)}, nil, "no further than offset 500"},
		{"a step back", []types.DiskChangeInfo{page(0, 500), page(500, -100)}, nil, "no further"},
		{"a gap", []types.DiskChangeInfo{page(0, 500), page(600, 400)}, nil, "asked about 500"},
		{"the same page again", []types.DiskChangeInfo{page(0, 500), page(0, 500)}, nil, "asked about 500"},
		{"lengths that add up to more than the disk", []types.DiskChangeInfo{page(0, size+1)}, nil, "1 bytes behind"},
		{"an area behind the disk", []types.DiskChangeInfo{page(0, size, area(size, 1))}, nil, "names an area"},
		{"an area before the disk", []types.DiskChangeInfo{page(0, size, area(-1, 1))}, nil, "names an area"},
		{"an area of no length", []types.DiskChangeInfo{page(0, size, area(1, 0))}, nil, "names an area"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, d := asked(pages(c.pages...))
			got, err := s.Changed(t.Context(), d, "52 ab/3")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, %v, want an error that says %q", got, err, c.err)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestChangedAsksByKeySnapshotAndOffset(t *testing.T) {
	t.Parallel()
	var asks []string
	s, d := asked(func(q *types.QueryChangedDiskAreas) (types.DiskChangeInfo, error) {
		asks = append(asks, fmt.Sprintf("%s %s %d %s @%d", q.This.Value, q.Snapshot.Value, q.DeviceKey, q.ChangeId, q.StartOffset))
		return page(q.StartOffset, 500), nil
	})
	if _, err := s.Changed(t.Context(), d, "52 ab/3"); err != nil {
		t.Fatal(err)
	}
	want := []string{"vm-1 snapshot-1 2000 52 ab/3 @0", "vm-1 snapshot-1 2000 52 ab/3 @500"}
	if !slices.Equal(asks, want) {
		t.Errorf("asked %q, want %q", asks, want)
	}
}

func faulty(f types.BaseMethodFault) host {
	return func(*types.QueryChangedDiskAreas) (types.DiskChangeInfo, error) {
		return types.DiskChangeInfo{}, soap.WrapVimFault(f)
	}
}

func TestChangedFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		fault              types.BaseMethodFault
		changed, allocated error
	}{
		{"a change ID that the host has forgotten", &types.FileFault{}, ErrChangeIDUnknown, ErrNotSupported},
		{"a tracking file that is gone", &types.FileNotFound{}, ErrChangeIDUnknown, ErrNotSupported},
		{"a change ID that the host cannot read", &types.InvalidArgument{InvalidProperty: "changeId"}, ErrChangeIDUnknown, ErrNotSupported},
		{"a host without change tracking", &types.MethodNotFound{}, ErrNotSupported, ErrNotSupported},
		{"a disk without change tracking", &types.NotSupported{}, ErrNotSupported, ErrNotSupported},
		{"a user without the privilege", &types.NoPermission{}, ErrDenied, ErrDenied},
		{"a snapshot that somebody removed", &types.ManagedObjectNotFound{}, ErrNotFound, ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, d := asked(faulty(c.fault))
			if _, err := s.Changed(t.Context(), d, "52 ab/3"); !errors.Is(err, c.changed) {
				t.Errorf("Changed: got %v, want %v", err, c.changed)
			}
			if _, err := s.Allocated(t.Context(), d); !errors.Is(err, c.allocated) {
				t.Errorf("Allocated: got %v, want %v", err, c.allocated)
			}
		})
	}
	s, d := asked(faulty(&types.InvalidArgument{InvalidProperty: "deviceKey"}))
	if _, err := s.Changed(t.Context(), d, "52 ab/3"); err == nil || errors.Is(err, ErrChangeIDUnknown) {
		t.Errorf("another invalid argument: got %v", err)
	}
}

func TestChangedKnowsEpochs(t *testing.T) {
	t.Parallel()
	s, d := asked(pages())
	for _, id := range []string{"", "52 cd/7", "52 ab", "*", "/7"} {
		if _, err := s.Changed(t.Context(), d, id); !errors.Is(err, ErrChangeIDUnknown) {
			t.Errorf("%q: got %v, want ErrChangeIDUnknown", id, err)
		}
	}
}

func TestAllocatedNeedsSense(t *testing.T) {
	t.Parallel()
	s, d := asked(pages(page(0, size)))
	d.Thin = false
	if _, err := s.Allocated(t.Context(), d); !errors.Is(err, ErrNotSupported) {
		t.Errorf("an empty thick disk: got %v, want ErrNotSupported", err)
	}
	s, d = asked(pages(page(0, size)))
	if got, err := s.Allocated(t.Context(), d); err != nil || len(got) != 0 {
		t.Errorf("an empty thin disk: got %v, %v", got, err)
	}
	s, d = asked(pages())
	d.ChangeID = ""
	if _, err := s.Allocated(t.Context(), d); !errors.Is(err, ErrNotSupported) {
		t.Errorf("no change tracking: got %v, want ErrNotSupported", err)
	}
}

// Whatever a host answers, areas ends, and what it returns lies on the disk
// and leaves out nothing that the host named.
func FuzzAreas(f *testing.F) {
	f.Add([]byte{0, 250, 0, 10, 250, 250, 3, 4})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		var named []extent.Extent
		byteAt := func(i int) int64 {
			if i < len(in) {
				return int64(int8(in[i])) * 8
			}
			return 8
		}
		n, calls := 0, 0
		s, d := asked(func(q *types.QueryChangedDiskAreas) (types.DiskChangeInfo, error) {
			calls++
			p := page(q.StartOffset+min(0, byteAt(n)), byteAt(n+1), area(q.StartOffset+byteAt(n+2), byteAt(n+3)))
			n += 4
			named = append(named, extent.Extent{Offset: p.ChangedArea[0].Start, Length: p.ChangedArea[0].Length})
			return p, nil
		})
		got, err := s.vm.areas(t.Context(), nil, d, "52 ab/3")
		if calls > size {
			t.Fatalf("%d calls", calls)
		}
		if err != nil {
			return
		}
		whole := extent.Extent{Offset: 0, Length: size}
		want := extent.Of(named...).Clip(whole)
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
