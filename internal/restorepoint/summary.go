package restorepoint

import "time"

// A Summary is what a listing shows of a point without reading its manifest.
type Summary struct {
	ID       string    `json:"id"`
	State    State     `json:"state"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Site     string    `json:"site"`
	Org      Ref       `json:"org"`
	VDC      Ref       `json:"vdc"`
	VApp     Ref       `json:"vapp"`
	// AutoNature and Nature are the point's; Kind makes one of them.
	AutoNature bool   `json:"autoNature,omitempty"`
	Nature     Nature `json:"nature,omitempty"`
	VMs        int    `json:"vms"`
	Disks      int    `json:"disks"`
	Size       int64  `json:"size"`   // bytes, capacity of all disks
	Stored     int64  `json:"stored"` // bytes this point added
	// Members are the VMs that the vApp had. Points of old have none here,
	// though their manifests do.
	Members []Member `json:"members,omitempty"`
}

// A Member is one VM of a point in a listing.
type Member struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Hold Hold   `json:"hold"`
	// Unprotected and ExcludedDisks count the disks that the point does not
	// hold, for what they are and by choice. Both are 0 where Hold is not
	// Held.
	Unprotected   int `json:"unprotectedDisks,omitempty"`
	ExcludedDisks int `json:"excludedDisks,omitempty"`
}

// A Hold says whether a point holds the disks of a VM.
type Hold string

// What a point has of a VM.
const (
	Held     Hold = "held"
	Missing  Hold = "missing"  // it failed
	Excluded Hold = "excluded" // nobody asked for it
)

// Hold says whether the point holds the VM's disks.
func (vm *VM) Hold() Hold {
	switch {
	case vm.Excluded:
		return Excluded
	case vm.Missing != "":
		return Missing
	}
	return Held
}

// Summary returns what a listing shows of p.
func (p *Point) Summary() Summary {
	s := Summary{
		ID: p.ID, State: p.State, Started: p.Started, Finished: p.Finished,
		Site: p.Site.ID, Org: p.Org, VDC: p.VDC, VApp: p.VApp, VMs: len(p.VMs),
		AutoNature: p.AutoNature, Nature: p.Nature,
	}
	for _, vm := range p.VMs {
		m := Member{ID: vm.ID, Name: vm.Name, Hold: vm.Hold()}
		s.Disks += len(vm.Disks)
		for _, d := range vm.Disks {
			s.Size += d.Content.Size
			s.Stored += d.Content.StoredBytes
		}
		for _, d := range vm.Unprotected {
			switch {
			case m.Hold != Held:
			case d.Excluded:
				m.ExcludedDisks++
			default:
				m.Unprotected++
			}
		}
		s.Members = append(s.Members, m)
	}
	return s
}

// A Gap is a VM or a disk whose bytes a point does not hold.
type Gap struct {
	VM     string `json:"vm"`
	Disk   string `json:"disk,omitempty"` // label; empty for the whole VM
	Reason string `json:"reason"`
	// Excluded is true where that was asked for.
	Excluded bool `json:"excluded,omitempty"`
}

// Gaps lists what the point does not hold of the vApp's disks, whatever the
// reason, in the order of the VMs.
func (p *Point) Gaps() []Gap {
	var out []Gap
	for _, vm := range p.VMs {
		if vm.Hold() != Held {
			out = append(out, Gap{VM: vm.Name, Reason: vm.Missing, Excluded: vm.Excluded})
			continue
		}
		for _, d := range vm.Unprotected {
			out = append(out, Gap{VM: vm.Name, Disk: d.Label, Reason: d.NotProtected, Excluded: d.Excluded})
		}
	}
	return out
}
