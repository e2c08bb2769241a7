package vcenter

// What clients of the disk port have open is locked, as files are on a host:
// a disk that is read may be read by others, one that is written by nobody.
// Nothing is merged into the layers of a VM while one of its disks is open,
// which is how deltas are left behind by a backup that removes its snapshot
// before it lets go of the disks.

// locks tells how clients use a layer: exclusively as what they write to,
// shared as what they read, or what lies below either.
func (p *diskPort) locks(l *layer) (exclusive, shared bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for h := range p.handles {
		switch {
		case h.layer == l && !h.readOnly:
			exclusive = true
		case h.layer.above(l):
			shared = true
		}
	}
	return exclusive, shared
}

// open is a disk of the VM that a client has open; nil without one.
func (p *diskPort) open(vs *vmState) *layer {
	p.mu.Lock()
	defer p.mu.Unlock()
	for h := range p.handles {
		if h.vs == vs {
			return h.layer
		}
	}
	return nil
}

// OpenDisks counts the disks that clients of the disk port have open, or did
// not close before they left, a moment ago.
func (s *Server) OpenDisks() int {
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	return len(s.disks.handles)
}

// inUse refuses what a disk of the VM that is open is in the way of.
func (s *Server) inUse(vs *vmState) error {
	if l := s.disks.open(vs); l != nil {
		return locked(l.file)
	}
	return nil
}
