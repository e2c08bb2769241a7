// Package diff says in what two states of a vApp differ: two restore points,
// or a restore point and what there is now.
//
// It changes nothing, reads no disk, and never shows a secret: of one it is
// only said that it changed. What it cannot know it calls unknown, never
// equal.
package diff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// A Side is one of two states.
type Side struct {
	// Point is the manifest. That of a vApp as it is now has an empty ID, and
	// no contents but sizes.
	Point *restorepoint.Point
	// Docs are the documents without their secrets: what is shown is taken
	// from these.
	Docs map[string][]byte

	whole   map[string][]byte // with them: what tells that one changed
	changed map[diskID]since
}

// since asks what was written to a disk of a vApp as it is since a change ID.
// The error says why that cannot be known without reading the disk.
type since func(ctx context.Context, changeID string) (extent.Set, error)

type diskID struct {
	vm  string // URN
	key int32
}

// Stored makes a Side of a restore point and its documents.
func Stored(p *restorepoint.Point, docs map[string][]byte) (Side, error) {
	secrets, err := restorepoint.DecodeSecrets(docs[restorepoint.SecretsPath])
	if err != nil {
		return Side{}, err
	}
	s := Side{Point: p, Docs: maps.Clone(docs)}
	delete(s.Docs, restorepoint.SecretsPath)
	s.whole = maps.Clone(s.Docs)
	return s, secrets.RestoreAll(s.whole)
}

// captured makes a Side of documents as they came.
func captured(p *restorepoint.Point, docs map[string][]byte) (Side, error) {
	s := Side{Point: p, Docs: maps.Clone(docs), whole: docs}
	_, err := restorepoint.CutAll(s.Docs)
	return s, err
}

// Options say how to compare.
type Options struct {
	// All compares what is different all the time, too: ids, times, usage,
	// what repeats another document, and vSphere's own view of a VM.
	All bool
	// Contents compares two disks of restore points.
	Contents func(ctx context.Context, a, b restorepoint.DiskContent) (extent.Set, error)
}

// A Result is in what two states differ.
type Result struct {
	From State `json:"from"`
	To   State `json:"to"`
	// Same is true where nothing differs and nothing is unknown.
	Same   bool    `json:"same"`
	VMs    []VM    `json:"vms"`   // added, removed, renamed, moved
	Disks  []Disk  `json:"disks"` // all of the VMs that both have, and of those added or removed
	Fields []Field `json:"fields"`
	// Notes say what could not be compared.
	Notes []string `json:"notes"`
}

// A State names a Side.
type State struct {
	Point string `json:"point,omitempty"` // empty for what there is now
	VApp  string `json:"vapp"`
	// Time is when the point was begun, or now.
	Time time.Time `json:"time"`
}

// What becomes of VMs and disks.
const (
	Added   = "added"
	Removed = "removed"
	Renamed = "renamed"
	Moved   = "moved"
	Kept    = "kept"
	Changed = "changed"
)

// A VM is one that came, went, or is called or stands elsewhere.
type VM struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Change string `json:"change"` // added, removed, renamed, moved
	Was    string `json:"was,omitempty"`
	Is     string `json:"is,omitempty"`
}

// A Disk is one disk of a VM.
type Disk struct {
	VM     string `json:"vm"`
	Disk   string `json:"disk"` // label
	Key    int32  `json:"key"`
	Change string `json:"change"` // added, removed, kept
	// SizeWas and SizeIs are capacities in bytes, FileWas and FileIs where
	// its file is, if that differs.
	SizeWas int64  `json:"sizeWas,omitempty"`
	SizeIs  int64  `json:"sizeIs,omitempty"`
	FileWas string `json:"fileWas,omitempty"`
	FileIs  string `json:"fileIs,omitempty"`
	// Replaced is true where another disk is in its place.
	Replaced bool `json:"replaced,omitempty"`
	// Changed is how many bytes lie in areas that differ: blocks of 1 MiB
	// between restore points, what vSphere tracks otherwise. Without it
	// Unknown says why it is not known.
	Changed *int64 `json:"changed,omitempty"`
	Unknown string `json:"unknown,omitempty"`
}

// Differs tells whether a disk is not as it was, as far as that is known.
func (d Disk) Differs() bool {
	return d.Change != Kept || d.SizeWas != d.SizeIs || d.FileWas != d.FileIs || d.Replaced || d.Changed != nil && *d.Changed > 0
}

// A Field is one thing that a document says.
type Field struct {
	Object string `json:"object"` // "vApp", "vm web01", "network dmz", …
	What   string `json:"what"`   // "NAT rule 3: external port"
	Change string `json:"change"` // added, removed, changed
	Was    string `json:"was,omitempty"`
	Is     string `json:"is,omitempty"`
	// Document and Path are where it stands.
	Document string `json:"document"`
	Path     string `json:"path"`
	// Volatile says why it differs all the time.
	Volatile string `json:"volatile,omitempty"`
}

// Compute compares a with b, which came later.
func Compute(ctx context.Context, a, b Side, o Options) (*Result, error) {
	r := &Result{From: state(a), To: state(b), VMs: []VM{}, Disks: []Disk{}, Fields: []Field{}, Notes: []string{}}
	c := &comparison{a: a, b: b, o: o, result: r}
	c.matchVMs()
	for _, p := range c.pairs {
		if err := c.disks(ctx, p); err != nil {
			return nil, err
		}
	}
	if err := c.documents(); err != nil {
		return nil, err
	}
	r.Same = len(r.VMs) == 0 && len(r.Notes) == 0 &&
		!slices.ContainsFunc(r.Fields, func(f Field) bool { return f.Volatile == "" }) &&
		!slices.ContainsFunc(r.Disks, func(d Disk) bool { return d.Differs() || d.Unknown != "" })
	return r, nil
}

func state(s Side) State {
	return State{
		Point: s.Point.ID, Time: s.Point.Started,
		VApp: s.Point.Org.Label() + "/" + s.Point.VDC.Label() + "/" + s.Point.VApp.Name,
	}
}

// A comparison is under way.
type comparison struct {
	a, b   Side
	o      Options
	result *Result
	pairs  []pair
}

// A pair is a VM on both sides; one of them nil where it came or went.
type pair struct{ a, b *restorepoint.VM }

// name is what the VM is called, by its last name.
func (p pair) name() string {
	if p.b != nil {
		return p.b.Name
	}
	return p.a.Name
}

// matchVMs finds the VMs of one side on the other: by their ids, else, as a
// VM that was rebuilt has another, by their names.
func (c *comparison) matchVMs() {
	taken := map[string]bool{}
	for i := range c.a.Point.VMs {
		c.pairs = append(c.pairs, pair{a: &c.a.Point.VMs[i]})
	}
	for _, same := range []func(x, y *restorepoint.VM) bool{
		func(x, y *restorepoint.VM) bool { return x.ID == y.ID },
		func(x, y *restorepoint.VM) bool { return x.Name == y.Name },
	} {
		for i := range c.pairs {
			for j := range c.b.Point.VMs {
				if y := &c.b.Point.VMs[j]; c.pairs[i].b == nil && !taken[y.ID] && same(c.pairs[i].a, y) {
					c.pairs[i].b, taken[y.ID] = y, true
				}
			}
		}
	}
	for j := range c.b.Point.VMs {
		if y := &c.b.Point.VMs[j]; !taken[y.ID] {
			c.pairs = append(c.pairs, pair{b: y})
		}
	}
	for _, p := range c.pairs {
		c.vm(p)
	}
}

func (c *comparison) vm(p pair) {
	add := func(vm *restorepoint.VM, change, was, is string) {
		c.result.VMs = append(c.result.VMs, VM{Name: vm.Name, ID: vm.ID, Change: change, Was: was, Is: is})
	}
	switch {
	case p.b == nil:
		add(p.a, Removed, "", "")
	case p.a == nil:
		add(p.b, Added, "", "")
	default:
		if p.a.Name != p.b.Name {
			add(p.b, Renamed, p.a.Name, p.b.Name)
		}
		// A VM that was not looked at has no vCenter here.
		if p.a.VCenter != "" && p.b.VCenter != "" && p.a.VCenter != p.b.VCenter {
			add(p.b, Moved, "vCenter "+p.a.VCenter, "vCenter "+p.b.VCenter)
		}
	}
}

// errUnread is why the contents of a disk cannot be compared.
var errUnread = errors.New("its bytes are not in the restore point")

func unread(d *restorepoint.Disk) error {
	if d.NotProtected != "" {
		return fmt.Errorf("%w: %s", errUnread, d.NotProtected)
	}
	return errUnread
}
