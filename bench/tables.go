package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vappvault/vappvault/internal/wording"
)

// What is aimed at: the time of ours in terms of theirs, at most.
var aims = map[string]map[string]float64{
	"full":        {"limit": 0.95, "kopia": 0.75, "restic": 0.4, "borg": 0.85},
	"incremental": {"kopia": 0.25, "restic": 0.1, "borg": 0.2},
	"restore":     {"limit": 1.15, "kopia": 0.25, "restic": 0.4, "borg": 0.3},
}

const storedAtMost = 1.02

// compare adds the lines of one piece of work on one image.
func (b *bench) compare(work string, s *set, got map[string]series) {
	ours := got["vappvault"]
	if len(b.told) > 0 {
		b.report.note("Programs: %s.", strings.Join(b.told, "; "))
	}
	for _, p := range s.peers[1:] {
		theirs := got[p.name()]
		what, a, c := "cold", ours, theirs
		if _, ok := p.(*machine); ok {
			what, a, c = "warm", ours.warm(), theirs.warm()
		}
		b.report.ratio(fmt.Sprintf("%s, %s, %s", work, s.name, what), p.name(), a, c, aims[work][p.name()])
	}
}

// peaks adds a line about memory.
func (b *bench) peaks(s *set, got map[string]series) {
	line := "Peak memory, " + s.name + ":"
	for _, p := range s.peers {
		line += fmt.Sprintf(" %s %s;", p.name(), megabytes(got[p.name()].memory()))
	}
	b.report.note("%s", line[:len(line)-1]+".")
}

// grown compares what ours and stock kopia have stored.
func (b *bench) grown(work string, s *set, stored map[string]int64) {
	if ours, theirs := stored["vappvault"], stored["kopia"]; theirs > 0 {
		ratio := float64(ours) / float64(theirs)
		b.report.row(work+", "+s.name+", stored", megabytes(float64(ours)), "kopia", megabytes(float64(theirs)),
			fmt.Sprintf("**%.3f**", ratio), "–", bound(ratio, storedAtMost), "")
	}
}

func (s *set) stored() (map[string]int64, error) {
	out := map[string]int64{}
	for _, p := range s.peers {
		n, err := p.stored()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name(), err)
		}
		out[p.name()] = n
	}
	return out, nil
}

func (b *bench) full() error {
	sets, err := b.images()
	if err != nil {
		return err
	}
	b.report.ratioHead()
	for _, s := range sets {
		var before map[string]int64
		got, err := b.interleave(s.peers, func(p peer) (measure, error) { return p.backup(b.ctx, s.picture, nil) },
			func(int) (err error) {
				for _, p := range s.peers {
					if err := p.init(b.ctx); err != nil {
						return fmt.Errorf("%s: %w", p.name(), err)
					}
				}
				before, err = s.stored()
				return err
			})
		if err != nil {
			return err
		}
		s.full = true
		b.compare("full", s, got)
		if err := b.storedSince("full", s, before); err != nil {
			return err
		}
		b.peaks(s, got)
	}
	b.report.note("Images of %s. That of ext4 is a sparse file: ours skips its holes, as it skips what a disk has never allocated; the limit and the others take them for zeros.", wording.Size(b.size))
	return nil
}

// storedSince adds a line about what was stored since a look at it.
func (b *bench) storedSince(work string, s *set, before map[string]int64) error {
	after, err := s.stored()
	if err != nil {
		return err
	}
	for name := range after {
		after[name] -= before[name]
	}
	b.grown(work, s, after)
	return nil
}

// incremental measures images of three times the size: a disk of an incremental is
// rarely small, and what the others read of it is all of it.
func (b *bench) incremental() error {
	if err := b.forget(); err != nil {
		return err
	}
	b.report.ratioHead()
	for _, name := range pictures {
		s, err := b.set(name, 3*b.size)
		if err == nil {
			err = b.incrementalOf(s)
		}
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		if err := os.RemoveAll(s.dir); err != nil {
			return err
		}
	}
	b.report.note("Images of %s. Each run changes one in a hundred blocks of 1 MiB, scattered evenly. Ours and the limit are told which, as vSphere's changed block tracking tells; the others read the image. The limit's incremental keeps no repository. The last of ours was restored and compared byte by byte.", wording.Size(3*b.size))
	return nil
}

func (b *bench) incrementalOf(s *set) error {
	if err := b.prepare(s); err != nil {
		return err
	}
	before, err := s.stored()
	if err != nil {
		return err
	}
	var blocks []int64
	got, err := b.interleave(s.peers, func(p peer) (measure, error) { return p.backup(b.ctx, s.picture, blocks) },
		func(run int) (err error) {
			blocks, err = s.change(run)
			return err
		})
	if err != nil {
		return err
	}
	b.compare("incremental", s, got)
	b.peaks(s, got)
	if err := b.storedSince("incremental", s, before); err != nil {
		return err
	}
	// Of ours, which was told what to read, the last is read back.
	to := filepath.Join(b.dir, "restored.raw")
	if _, err := s.peers[0].restore(b.ctx, s.picture, to); err != nil {
		return err
	}
	return errors.Join(same(s.path, to), os.Remove(to))
}

func (b *bench) restore() error {
	sets, err := b.images()
	if err != nil {
		return err
	}
	b.report.ratioHead()
	for _, s := range sets {
		if err := b.prepare(s); err != nil {
			return err
		}
		checked := map[string]bool{}
		got, err := b.interleave(s.peers, func(p peer) (measure, error) {
			to := filepath.Join(b.dir, "restored.raw")
			m, err := p.restore(b.ctx, s.picture, to)
			if err == nil && !checked[p.name()] {
				err, checked[p.name()] = same(s.path, to), true
			}
			return m, errors.Join(err, os.RemoveAll(to))
		}, func(int) error { return nil })
		if err != nil {
			return err
		}
		b.compare("restore", s, got)
		b.peaks(s, got)
	}
	b.report.note("Images of %s. What came back was compared byte by byte, once for each.", wording.Size(b.size))
	return nil
}
