package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// LeaseTimes are how long a vApp runs and is stored, in seconds; 0 is for ever.
type LeaseTimes struct {
	Deployment int64 `json:"deployment"`
	Storage    int64 `json:"storage"`

	why [2]string // of each, where it differs
}

// Never is a lease that does not end.
const Never = "never"

// ParseLease reads a lease: never, or a duration such as 168h or 7d.
func ParseLease(s string) (seconds int64, err error) {
	if s == Never {
		return 0, nil
	}
	if days, is := strings.CutSuffix(s, "d"); is {
		n, err := strconv.ParseUint(days, 10, 15)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("lease %q: want 7d, 168h or never", s)
		}
		return int64(n) * 24 * 3600, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("lease %q: want 7d, 168h or never", s)
	}
	return int64(d / time.Second), nil
}

// leaseText is a lease in words.
func leaseText(seconds int64) string {
	switch {
	case seconds == 0:
		return Never
	case seconds%(24*3600) == 0:
		return strconv.FormatInt(seconds/(24*3600), 10) + "d"
	}
	return strings.TrimSuffix(strings.TrimSuffix((time.Duration(seconds)*time.Second).String(), "0s"), "0m")
}

// planLease shortens what is above the organization's maximum.
func planLease(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	doc, err := d.Docs.Tree("vcd/leaseSettingsSection.xml")
	if err != nil || doc == nil {
		return err
	}
	limits, err := d.VCD.OrgLimits(ctx, p.Org.ID)
	if err != nil {
		return fmt.Errorf("settings of organization %s: %w", p.Org.Name, err)
	}
	asked := p.options.Overrides.Lease
	if asked == nil {
		asked = &Lease{}
	}
	p.Lease = &LeaseTimes{}
	for i, part := range []struct {
		what, element, asked string
		to                   *int64
	}{
		{"runtime lease", "DeploymentLeaseInSeconds", asked.Deployment, &p.Lease.Deployment},
		{"storage lease", "StorageLeaseInSeconds", asked.Storage, &p.Lease.Storage},
	} {
		seconds, _ := strconv.ParseInt(document.Text(doc.Root(), part.element), 10, 64)
		if part.asked != "" {
			if seconds, err = ParseLease(part.asked); err != nil {
				return err
			}
			p.Lease.why[i] = "--lease"
		}
		if limits != nil {
			most := []int64{limits.DeploymentLease, limits.StorageLease}[i]
			if most > 0 && (seconds == 0 || seconds > most) {
				p.add(Conflict{Kind: KindLease, Object: part.what, Override: "--lease DEPLOYMENT/STORAGE", Resolution: "shorten it to " + leaseText(most)},
					"is %s, and organization %s allows %s", leaseText(seconds), p.Org.Name, leaseText(most))
				seconds, p.Lease.why[i] = most, "the organization's maximum"
			}
		}
		*part.to = seconds
	}
	return nil
}

// planRenewal finds out whether the vApp has outlived its storage lease: vCD
// lets nobody change or start it until its leases are set again.
func (p *Plan) planRenewal(ctx context.Context, d *Deps) error {
	refs, err := d.VCD.VApps(ctx, vcd.Filter("name==", p.Live.Name))
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return fmt.Errorf("vApp %s: storage lease: %w", p.Live.Name, err)
	}
	if slices.ContainsFunc(refs, func(v vcd.VAppRef) bool { return v.ID == p.Live.ID && v.Expired }) {
		p.Renew = true
		p.conflict(KindExpired, "vApp "+p.Live.Name, "renew its leases first", "its storage lease has expired, and vCD lets nobody change it")
	}
	return nil
}
