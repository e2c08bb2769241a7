package plan

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// maxName is how many characters vCD takes in a name.
const maxName = 128

// checkName refuses what cannot be the name of a vApp or VM before anything
// is written.
func checkName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q: not UTF-8", name)
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("name %q: empty", name)
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Errorf("name %q: %d characters, vCD takes %d", name, utf8.RuneCountInString(name), maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("name %q: control characters", name)
	}
	return nil
}

// planPlace finds the org and VDC: those of the vApp that is there, else those
// that were asked for, else those of the restore point, by id or by name.
func planPlace(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	find := findPlace
	if p.InPlace() {
		find = findLive
	}
	if err := find(ctx, d, p, point); err != nil {
		return err
	}
	vdc, err := d.VCD.VDC(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("VDC %s: %w", p.VDC.Name, err)
	}
	p.vdc, p.home = vdc, vdc.VCenterHref
	if !vdc.Enabled && !p.InPlace() {
		p.add(Conflict{Kind: KindVDCGone, Object: "VDC " + p.VDC.Name, Override: "--vdc NAME"}, "is disabled")
	}
	return nil
}

// findLive finds the vApp that is overwritten.
func findLive(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	live, err := d.VCD.VApp(ctx, point.VApp.ID)
	if vcd.IsNotFound(err) || vcd.IsForbidden(err) {
		gone := err
		if live, err = findHeir(ctx, d, point); live == nil && err == nil {
			err = gone
		}
		if live != nil {
			p.conflict(KindRestored, "vApp "+point.VApp.Name, "take it for the one that was backed up", "has another id since: it was restored or made anew")
		}
	}
	if vcd.IsNotFound(err) {
		p.conflict(KindVAppGone, "vApp "+point.VApp.Name, "", "does not exist any more: restore it as a whole, without --overwrite")
		return errStop
	}
	if err != nil {
		return fmt.Errorf("vApp %s: %w", point.VApp.Name, err)
	}
	p.Live, p.VAppID = live, live.ID
	p.matchVMs(point)
	if err := p.planRenewal(ctx, d); err != nil {
		return err
	}
	p.VDC = restorepoint.Ref{ID: live.VDC.ID, Name: live.VDC.Name, Href: live.VDC.Href}
	p.Org = restorepoint.Ref{ID: live.Org.ID, Name: live.Org.Name}
	return nil
}

// findPlace finds the VDC for a vApp that is made.
func findPlace(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	vdcs, short := d.VCD.VDCs(ctx)
	if short != nil {
		short = fmt.Errorf("list VDCs: %w", short)
	}
	if short != nil && !errors.Is(short, vcd.ErrShort) {
		return short
	}
	if o := p.options.Overrides; o.VDC != "" || o.Org != "" {
		return p.askedPlace(vdcs, point, short)
	}
	var named *vcd.VDCRef
	for i, v := range vdcs {
		if v.ID == point.VDC.ID {
			p.setPlace(v)
			return nil
		}
		if v.Name == point.VDC.Name && v.OrgName == point.Org.Name {
			named = &vdcs[i]
		}
	}
	if named == nil {
		if short != nil {
			return short // it may be one that vCD does not show
		}
		p.add(Conflict{Kind: KindVDCGone, Object: "VDC " + point.Org.Name + "/" + point.VDC.Name, Override: "--vdc NAME"},
			"is gone; there are %s", places(vdcs))
		return errStop
	}
	p.setPlace(*named)
	p.conflict(KindVDCGone, "VDC "+named.Name, "use the VDC of the same name", "was made anew since the backup")
	return nil
}

func (p *Plan) setPlace(v vcd.VDCRef) {
	p.VDC = restorepoint.Ref{ID: v.ID, Name: v.Name, Href: v.Href}
	p.Org = restorepoint.Ref{ID: v.OrgID, Name: v.OrgName}
}

// askedPlace finds the VDC that the overrides name: by its name or id, as
// ORG/VDC, or as the VDC of the same name, or the only one, of another org.
func (p *Plan) askedPlace(vdcs []vcd.VDCRef, point *restorepoint.Point, short error) error {
	org, vdc, err := splitPlace(p.options.Overrides, point)
	if err != nil {
		return err
	}
	var fit []vcd.VDCRef
	inOrg := slices.DeleteFunc(slices.Clone(vdcs), func(v vcd.VDCRef) bool { return v.OrgName != org && v.OrgID != org })
	for _, v := range inOrg {
		if v.Name == vdc || v.ID == vdc {
			fit = append(fit, v)
		}
	}
	if strings.HasPrefix(vdc, "urn:") {
		fit = slices.DeleteFunc(slices.Clone(vdcs), func(v vcd.VDCRef) bool { return v.ID != vdc })
	}
	if len(fit) == 0 && p.options.Overrides.VDC == "" && len(inOrg) == 1 {
		fit = inOrg
	}
	if len(fit) != 1 {
		if short != nil {
			return short
		}
		kind, object, among := KindVDCGone, "VDC "+org+"/"+vdc, places(inOrg)
		if len(inOrg) == 0 && !strings.HasPrefix(vdc, "urn:") {
			kind, object, among = KindOrgGone, "organization "+org, places(vdcs)
		}
		p.add(Conflict{Kind: kind, Object: object, Override: "--vdc ORG/NAME"}, "does not exist; there are %s", among)
		return errStop
	}
	p.setPlace(fit[0])
	return nil
}

// splitPlace reads what --org and --vdc say; names in ORG/VDC are
// percent-encoded as in selectors.
func splitPlace(o Overrides, point *restorepoint.Point) (org, vdc string, err error) {
	org, vdc = o.Org, o.VDC
	if before, after, both := strings.Cut(vdc, "/"); both {
		if vdc, err = url.PathUnescape(after); err == nil {
			before, err = url.PathUnescape(before)
		}
		if err != nil {
			return "", "", fmt.Errorf("VDC %q: %w", o.VDC, err)
		}
		if org != "" && org != before {
			return "", "", fmt.Errorf("VDC %q: is not one of organization %q", o.VDC, org)
		}
		org = before
	}
	if org == "" {
		org = point.Org.Name
	}
	if vdc == "" {
		vdc = point.VDC.Name
	}
	return org, vdc, nil
}

// places lists VDCs for a message.
func places(vdcs []vcd.VDCRef) string {
	var names []string
	for _, v := range vdcs {
		names = append(names, v.OrgName+"/"+v.Name)
	}
	slices.Sort(names)
	return orNone(names)
}

// orNone lists names for a message.
func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// planVApp checks that the vApp may be overwritten, or that its name is free.
// A vApp that still exists and is restored elsewhere, is copied.
func planVApp(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	object := "vApp " + p.VAppName
	if err := checkName(p.VAppName); err != nil {
		if p.options.As != "" || p.options.Overrides.Name != "" {
			return err
		}
		p.add(Conflict{Kind: KindNameInvalid, Object: object, Override: "--name NAME"}, "cannot be its name: %v", err)
	}
	if p.InPlace() {
		if p.Live.InMaintenance && d.Swapped == nil {
			p.conflict(KindBusy, object, "", "is in maintenance mode by somebody else")
		}
		if p.Mode == ModeOverwrite && p.Live.Name != p.VAppName {
			resolution := "give it back its name"
			if p.options.Overrides.Name != "" {
				resolution = "rename it"
			}
			p.add(Conflict{Kind: KindRenamed, Object: object, Resolution: resolution, Override: "--name NAME"}, "is called %s now", p.Live.Name)
		}
	}
	vapps, err := d.VCD.VApps(ctx, "")
	// vCD itself refuses a name that is taken by a vApp which it does not show.
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return fmt.Errorf("list vApps: %w", err)
	}
	isThere := false
	for _, v := range vapps {
		if v.OrgID == p.Org.ID {
			p.inOrg += v.VMCount
		}
		if v.VDCID == p.VDC.ID {
			p.inVDC += v.VMCount
		}
		isThere = isThere || v.ID == point.VApp.ID
	}
	elsewhere := p.VDC.ID != point.VDC.ID && (p.options.Overrides.VDC != "" || p.options.Overrides.Org != "")
	if p.Mode == ModeMissing && isThere {
		if !elsewhere {
			p.conflict(KindVAppExists, "vApp "+point.VApp.Name, "", "still exists: overwrite it (--overwrite) or restore it by another name (--as)")
			p.choose()
			return nil
		}
		p.Mode = ModeCopy
	}
	p.choose()
	if p.InPlace() && p.Mode != ModeOverwrite {
		return nil
	}
	for _, v := range vapps {
		if v.VDCID == p.VDC.ID && v.Name == p.VAppName && v.ID != p.VAppID {
			ways := "restore it by another name (--as)"
			if p.Mode == ModeMissing {
				ways = "overwrite what has it, where that is the same vApp made anew (--overwrite), or " + ways
			}
			p.add(Conflict{Kind: KindNameTaken, Object: object, Override: "--name NAME"}, "the name is taken in VDC %s: %s", p.VDC.Name, ways)
		}
	}
	return nil
}

// choose fills in what becomes of addresses where nobody said it.
func (p *Plan) choose() {
	if p.IP == "" {
		p.IP = IPKeep
		if p.Copies() {
			p.IP = IPPool
		}
	}
	if p.MAC == "" {
		p.MAC = MACKeep
		if p.Copies() {
			p.MAC = MACNew
		}
	}
}
