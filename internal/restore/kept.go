package restore

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Kept is an overwrite that can be undone: the disks that it replaced, and
// what the vApp was before.
type Kept struct {
	Run   string           `json:"run"`
	Made  time.Time        `json:"made"`
	Site  string           `json:"site"`
	Org   restorepoint.Ref `json:"org"`
	VDC   restorepoint.Ref `json:"vdc"`
	VApp  restorepoint.Ref `json:"vapp"`
	Point string           `json:"point"` // the restore point that the vApp was overwritten with
	VMs   []KeptVM         `json:"vms"`
	// Safety is the restore point to undo it with, where blocks were written
	// into the disks and none was replaced.
	Safety string `json:"safety,omitempty"`

	sealed  string
	intents []int64
}

// A KeptVM is a VM with disks that an overwrite replaced.
type KeptVM struct {
	Name  string `json:"name"`
	MoRef string `json:"moref"`
	Files Files  `json:"files"` // Old are the kept ones
	// VCenter is the instance UUID of its vCenter.
	VCenter string `json:"vcenter"`
}

// ListKept returns what can be undone, oldest first.
func ListKept(ctx context.Context, j *journal.Journal, f journal.Filter) ([]Kept, error) {
	intents, err := j.OpenIntents(ctx, f)
	if err != nil {
		return nil, err
	}
	var out []Kept
	of := func(i journal.Intent) *Kept {
		at := slices.IndexFunc(out, func(k Kept) bool { return k.Run == i.Run })
		if at < 0 {
			out = append(out, Kept{Run: i.Run, Site: i.Site, Made: i.Made})
			at = len(out) - 1
		}
		out[at].intents = append(out[at].intents, i.ID)
		return &out[at]
	}
	for _, i := range intents {
		switch i.Kind {
		case mark.KeptDisk:
			files, err := DecodeFiles(i.Detail)
			if err != nil {
				return nil, fmt.Errorf("vm %s: %w", i.Detail[mark.VM], err)
			}
			k := of(i)
			k.VMs = append(k.VMs, KeptVM{Name: i.Detail[mark.VM], MoRef: i.Object, VCenter: i.Detail[mark.VCenter], Files: files})
		case mark.Safety:
			k := of(i)
			k.Point, k.sealed, k.Safety = i.Detail["point"], i.Detail["sealed"], i.Detail["safety"]
			k.VApp = restorepoint.Ref{ID: i.VApp, Name: i.Detail[mark.Name]}
			k.Org = restorepoint.Ref{ID: i.Detail["orgId"], Name: i.Detail["org"]}
			k.VDC = restorepoint.Ref{ID: i.Detail["vdcId"], Name: i.Detail["vdc"]}
		}
	}
	return out, nil
}

// planKept tells of an overwrite what earlier ones kept, which goes with it.
func (d *Deps) planKept(ctx context.Context, p *plan.Plan, point *restorepoint.Point) error {
	if d.made != nil || !slices.ContainsFunc(p.VMs, func(vm plan.VM) bool { return vm.Action == plan.Overwrite }) {
		return nil
	}
	earlier, err := ListKept(ctx, d.Journal, journal.Filter{Site: d.Site, VApp: point.VApp.ID})
	if err != nil {
		return err
	}
	for _, k := range earlier {
		if k.Safety != "" {
			continue // a restore point, which stays
		}
		p.Conflicts = append(p.Conflicts, plan.Conflict{
			Kind: plan.KindKept, Object: "vApp " + p.VAppName, Resolution: "delete them once this is proven",
			Message: "run " + k.Run + " keeps its former disks for an undo", Override: "--undo",
		})
	}
	return nil
}

// A safety is what a vApp was before it was overwritten, as a restore point
// whose disks are files on datastores.
type safety struct {
	Point restorepoint.Point `json:"point"`
	Docs  document.Set       `json:"docs"`
	// Only are the names of the VMs that were overwritten, where it was not
	// the whole vApp.
	Only []string `json:"only,omitempty"`
}

// capture reads the vApp as it is, with everything that a restore point has
// but the bytes of disks.
func (r *run) capture(ctx context.Context) (*safety, error) {
	now, err := r.VCD.Capture(ctx, r.vapp.ID)
	if err != nil {
		return nil, err
	}
	s := &safety{Docs: document.Set(now.Files), Point: restorepoint.Point{
		Schema: restorepoint.SchemaVersion, ID: r.id, State: restorepoint.Complete, Started: time.Now().UTC(),
		Site: r.point.Site, Org: r.plan.Org, VDC: r.plan.VDC, AutoNature: now.VApp.AutoNature,
		Nature: restorepoint.GuessNature(now.VApp.AutoNature, now.VApp.Name, now.VApp.Owner.Name),
		VApp:   restorepoint.Ref{ID: now.VApp.ID, Name: now.VApp.Name, Href: now.VApp.Href},
	}}
	for name, raw := range s.Docs {
		if path.Base(name) == "metadata.xml" {
			if s.Docs[name], err = restorepoint.WithoutMetadata(raw, mark.MetadataPrefix); err != nil {
				return nil, fmt.Errorf("document %s: %w", name, err)
			}
		}
	}
	if r.plan.Mode != plan.ModeOverwrite {
		for _, vp := range r.plan.VMs {
			if vp.Action == plan.Overwrite {
				s.Only = append(s.Only, vp.Live.Name)
			}
		}
	}
	for _, vm := range now.VApp.VMs {
		rec := restorepoint.VM{
			Ref:         restorepoint.Ref{ID: vm.ID, Name: vm.Name, Href: vm.Href},
			VCenterHref: vm.VimInfo.VCenterHref, MoRef: vm.VimInfo.VMMoRef, ScopedLocalID: vm.VAppScopedLocalID,
		}
		vp := r.planned(vm.ID)
		if vp != nil && vp.Action == plan.Remove {
			rec.Missing = "the overwrite deleted it"
		}
		client, err := r.VSphere(ctx, rec.VCenterHref)
		if err != nil {
			return nil, err
		}
		config, err := client.VM(rec.MoRef).Config(ctx)
		if err != nil {
			return nil, fmt.Errorf("vm %s: read configuration: %w", vm.Name, err)
		}
		rec.VCenter, rec.PowerState = client.InstanceUUID(), r.ran(vm.ID)
		s.Docs["vsphere/"+restorepoint.UUID(vm.ID)+"/config.xml"] = config.Raw
		for _, d := range config.Disks {
			if vp != nil && slices.Contains(vp.Out, d.Key) {
				rec.Disks = append(rec.Disks, diskRecord(d))
			}
		}
		s.Point.VMs = append(s.Point.VMs, rec)
	}
	return s, nil
}

func diskRecord(d vsphere.Disk) restorepoint.Disk {
	return restorepoint.Disk{Key: d.Key, UUID: d.UUID, Label: d.Label, FileName: d.FileName, Content: restorepoint.DiskContent{Size: d.Capacity}}
}

// planned returns what is done with the VM that has this id now.
func (r *run) planned(id string) *plan.VM {
	for i, vp := range r.plan.VMs {
		if vp.Live != nil && vp.Live.ID == id {
			return &r.plan.VMs[i]
		}
	}
	return nil
}

// ran tells how a VM was before it was undeployed.
func (r *run) ran(id string) string {
	const on = 4 // VmType, status
	for _, vm := range r.plan.Live.VMs {
		if vm.ID == id && vm.Status == on {
			return poweredOn
		}
	}
	return "poweredOff"
}

// seal packs a safety for the journal. It holds passwords.
func (s *safety) seal(repo *repository.Repository) (string, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	sealed, err := repo.Seal(b.Bytes())
	return base64.StdEncoding.EncodeToString(sealed), err
}

// maxSafety bounds what a safety may unpack to, in bytes.
const maxSafety = 1 << 30

// unseal is the inverse of seal.
func (k *Kept) unseal(repo *repository.Repository) (*safety, error) {
	fail := func(err error) (*safety, error) {
		return nil, fmt.Errorf("what vApp %s was before run %s: %w", k.VApp.Name, k.Run, err)
	}
	sealed, err := base64.StdEncoding.DecodeString(k.sealed)
	if err != nil {
		return fail(err)
	}
	packed, err := repo.Unseal(sealed)
	if err != nil {
		return fail(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fail(err)
	}
	var s safety
	if err := json.NewDecoder(io.LimitReader(r, maxSafety)).Decode(&s); err != nil {
		return fail(err)
	}
	return &s, nil
}
