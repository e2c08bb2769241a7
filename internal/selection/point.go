package selection

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// A PointRef says which restore point is meant: one by its id, or the newest
// of a vApp, at a time or at all.
type PointRef struct {
	ID       string // ULID, in upper case; empty where Selector counts
	Selector Selector
	At       time.Time // newest at or before; zero for the newest of all
}

// String returns the reference as it is written; ParsePoint reads it back.
func (r PointRef) String() string {
	switch {
	case r.ID != "":
		return r.ID
	case r.At.IsZero():
		return r.Selector.String() + "@latest"
	}
	return r.Selector.String() + "@" + r.At.UTC().Format(time.RFC3339Nano)
}

// timeLayouts are the ways to write a time; without a zone it is UTC.
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04"}

// ParsePoint reads a ULID, SELECTOR@latest or SELECTOR@TIME, of vApps.
func ParsePoint(s string) (PointRef, error) {
	ref, err := ParseVMPoint(s)
	if err == nil && ref.Selector.MayNameVM() {
		return PointRef{}, fmt.Errorf("restore point %q: it is of a vApp: leave the VM out", s)
	}
	return ref, err
}

// ParseVMPoint reads what ParsePoint reads, and the same with a selector of
// VMs, which means the newest point that holds one of them.
func ParseVMPoint(s string) (PointRef, error) {
	ref, err := parsePoint(s)
	if err != nil {
		return PointRef{}, fmt.Errorf("restore point %q: %w", s, err)
	}
	return ref, nil
}

// PointItems are what selectors find a point by: its vApp, and the VMs whose
// disks it holds. A point of old, whose listing names no VMs, is found by its
// vApp alone.
func PointItems(p restorepoint.Summary) []Item {
	vapp := Item{Org: p.Org.Label(), VDC: p.VDC.Label(), VApp: p.VApp.Name, URN: p.VApp.ID}
	out := []Item{vapp}
	for _, m := range p.Members {
		if m.Hold == restorepoint.Held {
			vm := vapp
			vm.VM, vm.URN = m.Name, m.ID
			out = append(out, vm)
		}
	}
	return out
}

func parsePoint(s string) (PointRef, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		id, err := ulid.ParseStrict(strings.ToUpper(s))
		if err != nil {
			return PointRef{}, errors.New("want an id, SELECTOR@latest or SELECTOR@TIME")
		}
		return PointRef{ID: id.String()}, nil
	}
	sel, err := Parse(s[:at])
	if err != nil {
		return PointRef{}, err
	}
	when := s[at+1:]
	if when == "latest" {
		return PointRef{Selector: sel}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, when); err == nil && !t.IsZero() {
			return PointRef{Selector: sel, At: t.UTC()}, nil
		}
	}
	return PointRef{}, fmt.Errorf("time %q: want latest, 2026-11-22T08:00 (UTC) or RFC 3339", when)
}

// PickPoint returns the point that ref means. The time of a point is when it
// was started: nothing younger than that instant is promised to be in it. A
// point that cannot be restored as a whole is only ever meant by its id.
//
// A vApp that was rebuilt has another URN but the same name; its points and
// those of its forerunner are taken together. References that different
// vApps fit are an *Ambiguous, those that none fits an ErrNoMatch.
func PickPoint(points []restorepoint.Summary, ref PointRef) (restorepoint.Summary, error) {
	var (
		best  restorepoint.Summary
		found bool
		paths []string
	)
	seen := map[string]bool{}
	for _, p := range points {
		if ref.ID != "" {
			if p.ID == ref.ID {
				return p, nil
			}
			continue
		}
		items := PointItems(p)
		it := items[0]
		if !slices.ContainsFunc(items, ref.Selector.Matches) || p.State == restorepoint.Incomplete ||
			!ref.At.IsZero() && p.Started.After(ref.At) {
			continue
		}
		// An id means one vApp, whatever its name was at the time.
		if path := it.String(); ref.Selector.urn == "" && !seen[path] {
			seen[path] = true
			paths = append(paths, path)
		}
		if !found || newer(p, best) {
			best, found = p, true
		}
	}
	switch {
	case !found:
		return restorepoint.Summary{}, fmt.Errorf("restore point %s: %w", ref, ErrNoMatch)
	case len(paths) > 1:
		return restorepoint.Summary{}, fmt.Errorf("restore point %s: %w", ref,
			&Ambiguous{Selector: ref.Selector.String(), Candidates: paths})
	}
	return best, nil
}

// newer compares by start, then by id, which grows with time.
func newer(a, b restorepoint.Summary) bool {
	if c := a.Started.Compare(b.Started); c != 0 {
		return c > 0
	}
	return a.ID > b.ID
}

// SplitVM takes the VM out of a reference that ends in one,
// ORG/VDC/VAPP/VM@WHEN: the reference to the vApp's restore point, and a
// selector of VMs. A reference without a VM comes back as it is, with "".
func SplitVM(ref string) (point, vm string, err error) {
	at := strings.LastIndexByte(ref, '@')
	if at < 0 {
		return ref, "", nil
	}
	sel, err := Parse(ref[:at])
	if err != nil {
		return "", "", fmt.Errorf("restore point %q: %w", ref, err)
	}
	if !sel.NamesVM() {
		return ref, "", nil
	}
	vm, sel.vm = sel.vm, ""
	return sel.String() + ref[at:], vm, nil
}

// MatchVM tells whether the VM of a reference, as SplitVM gives it, is one of
// that name.
func MatchVM(pattern, name string) bool { return match(pattern, name) }
