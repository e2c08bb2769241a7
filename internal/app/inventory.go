package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
)

// An InventoryItem is one vApp, or one VM of it, and how it is protected.
type InventoryItem struct {
	Site   string `json:"site"`
	Org    string `json:"org"`
	VDC    string `json:"vdc"`
	VApp   string `json:"vapp"`
	VAppID string `json:"vappId"`
	VM     string `json:"vm,omitempty"`
	VMID   string `json:"vmId,omitempty"`
	Status string `json:"status"`
	// Nature of the vApp, by what a list tells: see restorepoint.GuessNature.
	Nature        restorepoint.Nature `json:"nature"`
	InMaintenance bool                `json:"inMaintenance"`
	// Protected: some restore point holds it; LastPoint is the newest such.
	Protected bool      `json:"protected"`
	LastPoint string    `json:"lastPoint,omitempty"`
	LastTime  time.Time `json:"lastTime,omitzero"`
	// State is that of the vApp's newest point, and Hold, of a VM, what that
	// point has of it. Both are empty where there is no such point, Hold also
	// where the VM was added since; of a vApp it is set where all its VMs were
	// excluded.
	State restorepoint.State `json:"lastState,omitempty"`
	Hold  restorepoint.Hold  `json:"lastHold,omitempty"`
}

// located is a vApp and the site it is on.
type located struct {
	vcd.VAppRef
	site *site
}

// item is what selectors go by. An org or VDC that vCD hides, though it shows
// the vApp, has no name and goes by its UUID.
func (l located) item() selection.Item {
	return selection.Item{
		Org:  restorepoint.Ref{ID: l.OrgID, Name: l.OrgName}.Label(),
		VDC:  restorepoint.Ref{ID: l.VDCID, Name: l.VDCName}.Label(),
		VApp: l.Name, URN: l.ID,
	}
}

// vapps lists the vApps of all sites. An error that is inPart comes with
// those that could be seen: there is no reason not to protect them.
func (a *App) vapps(ctx context.Context) (out []located, short error) {
	short = a.eachSite(ctx, a.siteIDs(), func(s *site) error {
		refs, err := s.vcd.VApps(ctx, "")
		for _, r := range refs {
			out = append(out, located{r, s})
		}
		return wrap(err, "site %s: list vApps", s.ID)
	})
	slices.SortStableFunc(out, func(x, y located) int {
		return strings.Compare(x.item().String(), y.item().String())
	})
	return out, short
}

func items(vapps []located) []selection.Item {
	out := make([]selection.Item, len(vapps))
	for i, v := range vapps {
		out[i] = v.item()
	}
	return out
}

func parseSelectors(words []string) ([]selection.Selector, error) {
	var out []selection.Selector
	for _, w := range words {
		s, err := selection.Parse(w)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// pick returns the vApps that the selectors pick; all of them where there is
// no selector.
func pick(vapps []located, words []string) ([]located, error) {
	if len(words) == 0 {
		return vapps, nil
	}
	selectors, err := parseSelectors(words)
	if err != nil {
		return nil, err
	}
	picked, err := selection.Pick(items(vapps), selectors)
	if err != nil {
		return nil, err
	}
	return among(vapps, picked), nil
}

// among keeps the vApps that are among items.
func among(vapps []located, items []selection.Item) []located {
	wanted := make(map[string]bool, len(items))
	for _, i := range items {
		wanted[i.URN] = true
	}
	var out []located
	for _, v := range vapps {
		if wanted[v.ID] {
			out = append(out, v)
		}
	}
	return out
}

// List returns the vApps and VMs that the selectors pick; all of them where
// there is no selector. With ErrPartial vCD does not show all that it has, or a
// site could not be looked at.
func (a *App) List(ctx context.Context, words []string) ([]InventoryItem, error) {
	selectors, err := parseSelectors(words)
	if err != nil {
		return nil, err
	}
	vapps, short := a.vapps(ctx)
	if short != nil && !inPart(short) {
		return nil, short
	}
	last, err := a.lastPoints(ctx)
	if err != nil {
		return nil, err
	}
	vms, fewer := a.vms(ctx, vapps)
	if fewer != nil && !inPart(fewer) {
		return nil, fewer
	}
	short = errors.Join(short, fewer)
	var all []InventoryItem
	var names []selection.Item
	for _, v := range vapps {
		point, protected := last[v.ID]
		if !protected {
			// A vApp that was rebuilt has a new id; its points are told by
			// its name.
			point, protected = last[v.item().String()]
		}
		name := v.item()
		item := InventoryItem{
			Site: v.site.ID, Org: name.Org, VDC: name.VDC, VApp: v.Name, VAppID: v.ID, Status: v.Status,
			Nature: natureOf(v, point), InMaintenance: v.InMaintenance, Protected: protected, LastPoint: point.ID, LastTime: point.Started, State: point.State,
		}
		if allExcluded(point.Members) {
			item.Hold = restorepoint.Excluded
		}
		all, names = append(all, item), append(names, name)
		for _, vm := range vms[v.ID] {
			all = append(all, last.vm(item, vm, point))
			name.VM, name.URN = vm.Name, vm.ID
			names = append(names, name)
		}
	}
	out := all
	if len(words) > 0 {
		picked, err := selection.Pick(names, selectors)
		if err != nil {
			return nil, orShort(err, short)
		}
		wanted := make(map[selection.Item]bool, len(picked))
		for _, name := range picked {
			wanted[name] = true
		}
		out = nil
		for i, name := range names {
			if wanted[name] {
				out = append(out, all[i])
			}
		}
	}
	if short != nil {
		return out, fmt.Errorf("%w: %w", ErrPartial, short)
	}
	return out, nil
}

// vms lists the VMs of the sites that have those vApps, by the URN of their
// vApp. An error that is inPart comes with those that could be seen.
func (a *App) vms(ctx context.Context, vapps []located) (out map[string][]vcd.VMRef, short error) {
	var ids []string
	for _, v := range vapps {
		if !slices.Contains(ids, v.site.ID) {
			ids = append(ids, v.site.ID)
		}
	}
	out = map[string][]vcd.VMRef{}
	short = a.eachSite(ctx, ids, func(s *site) error {
		refs, err := s.vcd.VMs(ctx, "")
		for _, vm := range refs {
			out[vm.VAppID] = append(out[vm.VAppID], vm)
		}
		return wrap(err, "site %s: list VMs", s.ID)
	})
	return out, short
}

func allExcluded(members []restorepoint.Member) bool {
	return len(members) > 0 && !slices.ContainsFunc(members, func(m restorepoint.Member) bool { return m.Hold != restorepoint.Excluded })
}

// natureOf tells what a vApp is: by its last point, which knows what vSphere
// says about its VM, else by what the list has.
func natureOf(v located, last restorepoint.Summary) restorepoint.Nature {
	if v.AutoNature && last.VApp.ID == v.ID && last.AutoNature && last.Nature != "" {
		return last.Nature
	}
	return restorepoint.GuessNature(v.AutoNature, v.Name, v.OwnerName)
}

// lastPoints are the newest points of vApps and of VMs, by their ids and by
// their paths: one that was rebuilt has a new id.
type lastPoints map[string]restorepoint.Summary

// lastPoints returns them. Without a repository there are none: an inventory
// can be listed all the same.
func (a *App) lastPoints(ctx context.Context) (lastPoints, error) {
	out := lastPoints{}
	known, err := a.allPoints(ctx)
	if errors.Is(err, repository.ErrNotRepository) {
		a.Progress.Emit(progress.Event{Kind: progress.Warn, Message: fmt.Sprintf("what is protected is not known: %v", err)})
		return out, nil
	}
	if err == nil {
		err = a.fillMembers(ctx, known.points)
	}
	if err != nil {
		return nil, err
	}
	a.warnOf("more may be protected than it seems", known.missing(everything))
	for _, p := range known.points {
		for _, it := range selection.PointItems(p) {
			for _, key := range []string{it.URN, it.String()} {
				if p.ID > out[key].ID {
					out[key] = p
				}
			}
		}
	}
	return out, nil
}

// vm is the item of a VM, made from its vApp's and the vApp's newest point.
func (l lastPoints) vm(item InventoryItem, vm vcd.VMRef, newest restorepoint.Summary) InventoryItem {
	item.VM, item.VMID, item.Status = vm.Name, vm.ID, vm.Status
	point, ok := l[vm.ID]
	if !ok {
		point, ok = l[selection.Format(item.Org, item.VDC, item.VApp, vm.Name)]
	}
	item.Hold = ""
	item.Protected, item.LastPoint, item.LastTime = ok, point.ID, point.Started
	for _, m := range newest.Members {
		if m.ID == vm.ID || m.Name == vm.Name {
			item.Hold = m.Hold
		}
	}
	return item
}
