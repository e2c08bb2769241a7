package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/wording"
)

// quiet is how often a disk that is being copied makes itself heard where
// there are no bars.
const quiet = 30 * time.Second

// A console turns events into lines on standard error and, on a terminal,
// bars beneath them, one for each disk. Log lines go through it too, so that
// they do not tear the bars.
type console struct {
	mu    sync.Mutex
	out   io.Writer     // lines
	bars  *mpb.Progress // nil where there are none
	disks map[string]*disk
	ended map[string]bool // disks that have had their last line
	steps map[string]time.Time
	now   func() time.Time
}

// disk is one disk under way.
type disk struct {
	bar     *mpb.Bar // nil where there are none
	started time.Time
	said    time.Time
	first   int64 // bytes done at started
	by      atomic.Pointer[string]
}

func newConsole(stderr io.Writer) *console {
	c := &console{out: stderr, disks: map[string]*disk{}, ended: map[string]bool{}, steps: map[string]time.Time{}, now: time.Now}
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		c.draw(stderr)
	}
	return c
}

// draw lets the console draw bars.
func (c *console) draw(w io.Writer, options ...mpb.ContainerOption) {
	c.bars = mpb.New(append([]mpb.ContainerOption{mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithRefreshRate(200 * time.Millisecond)}, options...)...)
	c.out = c.bars
}

// Write prints log lines above the bars.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

// Close takes away the bars that are left.
func (c *console) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bars == nil {
		return
	}
	for _, d := range c.disks {
		d.bar.Abort(true)
	}
	c.disks = map[string]*disk{}
	c.bars.Wait()
}

// Event shows one event. It is a progress.Func.
func (c *console) Event(e progress.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Kind {
	case progress.StepStart:
		c.steps[stepKey(e)] = c.now()
		c.say(e, e.Step)
	case progress.StepDone:
		c.stepDone(e)
	case progress.Bytes:
		c.bytes(e)
	case progress.Warn:
		c.say(e, "warning: "+e.Message)
	default:
		c.say(e, e.Message)
	}
}

func stepKey(e progress.Event) string {
	return strings.Join([]string{e.Org, e.VApp, e.VM, e.Disk, e.What, e.Step}, "\x00")
}

// stepDone speaks of steps that failed or took their time. The error itself
// comes at the end, once.
func (c *console) stepDone(e progress.Event) {
	started, ok := c.steps[stepKey(e)]
	delete(c.steps, stepKey(e))
	var d time.Duration
	if ok {
		d = c.now().Sub(started)
	}
	switch {
	case e.Err != "":
		c.say(e, e.Step+": failed")
	case d >= 2*time.Second:
		c.say(e, e.Step+": "+took(d))
	}
}

// bytes moves the bar of a disk, or says from time to time how far it is.
func (c *console) bytes(e progress.Event) {
	key := stepKey(e)
	d := c.disks[key]
	if d == nil {
		if e.Total <= 0 || e.Done >= e.Total && c.ended[key] {
			return
		}
		delete(c.ended, key) // it begins anew
		now := c.now()
		d = &disk{started: now, said: now, first: e.Done}
		if c.bars != nil {
			d.bar = c.bar(e, &d.by)
		}
		c.disks[key] = d
	}
	now, how := c.now(), by(e)
	d.by.Store(&how)
	switch {
	case e.Done >= e.Total:
		if d.bar != nil {
			d.bar.Abort(true) // the line below takes its place
		}
		delete(c.disks, key)
		c.ended[key] = true
		c.say(e, wording.Size(e.Total)+" in "+took(now.Sub(d.started))+how)
	case d.bar != nil:
		d.bar.SetTotal(e.Total, false)
		d.bar.SetCurrent(e.Done)
	case now.Sub(d.said) >= quiet:
		d.said = now
		text := fmt.Sprintf("%s of %s, %d%%", wording.Size(e.Done), wording.Size(e.Total), percent(e.Done, e.Total))
		if done := e.Done - d.first; done > 0 {
			left := time.Duration(float64(now.Sub(d.started)) / float64(done) * float64(e.Total-e.Done))
			text += ", " + took(left.Round(time.Second)) + " left"
		}
		if e.Rate > 0 {
			text += ", " + wording.Size(e.Rate) + "/s"
		}
		c.say(e, text+how)
	}
}

// by tells how a disk is copied: " by vddk, 2 retries".
func by(e progress.Event) string {
	text := ""
	if e.Transport != "" {
		text = " by " + clean(e.Transport)
	}
	if e.Retries == 1 {
		text += ", 1 retry"
	} else if e.Retries > 1 {
		text += fmt.Sprintf(", %d retries", e.Retries)
	}
	return text
}

func percent(done, total int64) int { return int(float64(done) / float64(total) * 100) }

// wide is the width of a terminal from which on bars say how much of how
// much is done; in a narrower one they say a percentage.
const wide = 110

// bar makes the bar of a disk: name, how much, rate, time left, and in a wide
// terminal the transport. In 80 columns there is room for the rest, and for a
// bar.
func (c *console) bar(e progress.Event, how *atomic.Pointer[string]) *mpb.Bar {
	name, columns := where(e), 0
	return c.bars.AddBar(e.Total,
		mpb.PrependDecorators(decor.Any(func(s decor.Statistics) string {
			columns = s.AvailableWidth
			return fit(name, columns*2/5)
		}, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string {
				if columns < wide {
					return fmt.Sprintf("%d%%", percent(s.Current, s.Total))
				}
				return fmt.Sprintf("% .1f / % .1f", decor.SizeB1024(s.Current), decor.SizeB1024(s.Total))
			}, decor.WCSyncSpace),
			decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace),
			decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace),
			decor.Any(func(decor.Statistics) string {
				if text := how.Load(); text != nil && columns >= wide {
					return *text
				}
				return ""
			}, decor.WCSyncSpaceR),
		),
	)
}

// fit makes a name no longer than so many runes. Its middle goes: the vApp
// stands at the front, the disk at the end.
func fit(name string, runes int) string {
	r := []rune(name)
	if len(r) <= runes || runes < 3 {
		return name
	}
	front := (runes - 1) / 4
	return string(r[:front]) + "…" + string(r[len(r)-(runes-1-front):])
}

// say prints a line about what the event is about.
func (c *console) say(e progress.Event, text string) {
	line := clean(text)
	if w := where(e); w != "" {
		line = w + ": " + line
	}
	fmt.Fprintln(c.out, line)
}

// where names what an event is about, the outermost thing first.
func where(e progress.Event) string {
	var parts []string
	switch {
	case e.Org != "" && e.VApp != "":
		parts = append(parts, clean(e.Org+"/"+e.VApp))
	case e.Org != "" || e.VApp != "":
		parts = append(parts, clean(e.Org+e.VApp))
	}
	if e.VM != "" {
		parts = append(parts, "vm "+clean(e.VM))
	}
	if e.Disk != "" {
		parts = append(parts, "disk "+clean(e.Disk))
	}
	if e.What != "" {
		parts = append(parts, clean(e.What))
	}
	return strings.Join(parts, ": ")
}
