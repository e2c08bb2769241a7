package selection

// A Choice says which VMs and disks of the vApps that were picked count. The
// zero Choice takes them all.
type Choice struct {
	// Wanted are the selectors that picked the vApps. A VM counts where one
	// of them picks it, alone or with its whole vApp; without any, each does.
	Wanted []Selector
	// Excluded are selectors of vApps or VMs that do not count, even so.
	Excluded []Selector
	// ExcludedDisks do not count though their VMs do.
	ExcludedDisks []DiskSelector
	// Only, where it is not nil, has the URNs of the only VMs that count.
	Only map[string]bool
	// Because says why those that Only lacks do not.
	Because string
}

// VM tells whether a VM of a vApp counts. Vapp and vm have the URN of the
// vApp and of the VM; where the VM does not count, why is what to tell.
func (c Choice) VM(vapp, vm Item) (counts bool, why string) {
	for _, s := range c.Excluded {
		if s.Matches(vapp) || s.Matches(vm) {
			return false, "excluded by --exclude " + s.String()
		}
	}
	if c.Only != nil && !c.Only[vm.URN] {
		return false, c.Because
	}
	if len(c.Wanted) == 0 {
		return true, ""
	}
	for _, s := range c.Wanted {
		if s.Matches(vapp) || s.Matches(vm) {
			return true, ""
		}
	}
	return false, "not selected"
}

// Whole tells whether the vApp counts as such, so that it does even if none
// of its VMs is left.
func (c Choice) Whole(vapp Item) bool {
	if c.Only != nil {
		return false
	}
	for _, s := range c.Wanted {
		if s.Matches(vapp) {
			return true
		}
	}
	return len(c.Wanted) == 0
}

// Disk tells whether a disk of a VM that counts does, and if not, why.
func (c Choice) Disk(vm Item, drive Drive) (counts bool, why string) {
	for _, d := range c.ExcludedDisks {
		if d.Matches(vm, drive) {
			return false, "excluded by --exclude-disk " + d.String()
		}
	}
	return true, ""
}

// A Wrong selector is one that picks nothing, or a bare name that several
// vApps have.
type Wrong struct {
	Selector Selector
	Err      error // an ErrNoMatch or an *Ambiguous
}

// PickEach returns the items that the selectors pick, each once and in the
// order of items. What is wrong with a selector is told for each such one,
// and the others count all the same.
func PickEach(items []Item, sels []Selector) (picked []Item, wrong []Wrong) {
	wanted := map[Item]bool{}
	for _, sel := range sels {
		found, err := Pick(items, []Selector{sel})
		if err != nil {
			wrong = append(wrong, Wrong{sel, err})
			continue
		}
		for _, it := range found {
			wanted[it] = true
		}
	}
	for _, it := range items {
		if wanted[it] {
			picked = append(picked, it)
		}
	}
	return picked, wrong
}
