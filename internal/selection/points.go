package selection

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// ParsePoints reads a reference to the restore points of one vApp or, with a
// glob in its selector, of many: acme/vdc1/web-*@latest. ORG/VDC stands for
// all vApps of these VDCs.
func ParsePoints(s string) (PointRef, error) {
	if at := strings.LastIndexByte(s, '@'); at >= 0 && strings.Count(s[:at], "/") == 1 {
		s = s[:at] + "/*" + s[at:]
	}
	return ParsePoint(s)
}

// Many tells whether the reference can mean points of several vApps.
func (r PointRef) Many() bool {
	return strings.Contains(r.Selector.org+r.Selector.vdc+r.Selector.vapp, "*")
}

// PickPoints returns the points that ref means, the newest of each vApp, in
// the order of the vApps' selectors. A vApp is told by its URN, and by its
// name: the points of one that was rebuilt are its forerunner's, and one that
// was renamed goes by the name it had last. None is an ErrNoMatch.
func PickPoints(points []restorepoint.Summary, ref PointRef) ([]restorepoint.Summary, error) {
	if !ref.Many() {
		one, err := PickPoint(points, ref)
		if err != nil {
			return nil, err
		}
		return []restorepoint.Summary{one}, nil
	}
	newest := map[string]restorepoint.Summary{} // by URN
	for _, p := range points {
		if p.State == restorepoint.Incomplete || !ref.At.IsZero() && p.Started.After(ref.At) {
			continue
		}
		if old, ok := newest[p.VApp.ID]; !ok || newer(p, old) {
			newest[p.VApp.ID] = p
		}
	}
	best := map[string]restorepoint.Summary{} // by path
	for _, p := range newest {
		it := Item{Org: p.Org.Label(), VDC: p.VDC.Label(), VApp: p.VApp.Name, URN: p.VApp.ID}
		if !ref.Selector.Matches(it) {
			continue
		}
		if old, ok := best[it.String()]; !ok || newer(p, old) {
			best[it.String()] = p
		}
	}
	if len(best) == 0 {
		return nil, fmt.Errorf("restore points %s: %w", ref, ErrNoMatch)
	}
	paths := make([]string, 0, len(best))
	for path := range best {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	out := make([]restorepoint.Summary, 0, len(best))
	for _, path := range paths {
		out = append(out, best[path])
	}
	return out, nil
}
