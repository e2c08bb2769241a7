package repository_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/repository"
)

// A stock is the stock kopia command, connected to an organization's
// repository.
type stock struct {
	t   *testing.T
	bin string
	env []string
}

// stockBinary returns the command that test/kopia/build.sh builds. A test that
// needs it asks before it does anything else.
func stockBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: what the stock command does is the same with and without the race detector")
	}
	bin := os.Getenv("KOPIA_BIN")
	if bin == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KOPIA_BIN is not set: KOPIA_BIN=$(test/kopia/build.sh)")
		}
		t.Skip("KOPIA_BIN is not set: KOPIA_BIN=$(test/kopia/build.sh)")
	}
	return bin
}

func newStock(t *testing.T, bin string, c repository.ConnectInfo) *stock {
	t.Helper()
	home := t.TempDir()
	s := &stock{t: t, bin: bin, env: []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "KOPIA_PASSWORD=" + c.Password,
		"KOPIA_CONFIG_PATH=" + filepath.Join(home, "repository.config"), "KOPIA_CHECK_FOR_UPDATES=false",
	}}
	// The first command that Show gives connects; a shell takes its quotes.
	command := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(c.Commands[0], "kopia", bin, 1)+" --no-persist-credentials")
	command.Env = s.env
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", c.Commands[0], err, out)
	}
	return s
}

func (s *stock) run(args ...string) (string, error) {
	c := exec.CommandContext(s.t.Context(), s.bin, args...)
	c.Env = s.env
	var out, messages bytes.Buffer
	c.Stdout, c.Stderr = &out, &messages
	err := c.Run()
	if err != nil {
		return out.String() + messages.String(), err
	}
	return out.String(), nil
}

func (s *stock) must(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("kopia %v: %v\n%s", args, err, out)
	}
	return out
}

func TestStockCommand(t *testing.T) {
	bin := stockBinary(t)
	r := newRoot(t)
	o := org(t, r)
	full := image(31, 2*segment+3*block+1536)
	p1 := saveImage(t, o, nil, nil, full)
	changed := slices.Clone(full)
	noise(32, changed[segment:segment+block])
	clear(changed[5*block : 7*block])
	c1 := p1.VMs[0].Disks[0].Content
	p2 := saveImage(t, o, &c1, full, changed)

	// An attempt under way has left a checkpoint.
	w := newWriter(t, o)
	d := newDisk(t, w, 4*block, nil)
	if err := d.WriteBlock(t.Context(), 0, full[:block]); err != nil {
		t.Fatal(err)
	}
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}

	s := newStock(t, bin, o.Show())
	type listed struct {
		ID     string                                `json:"id"`
		Source struct{ Host, UserName, Path string } `json:"source"`
		Tags   map[string]string                     `json:"tags"`
		// Incomplete marks checkpoints, which the plain list leaves out.
		Incomplete string `json:"incomplete"`
	}
	var list []listed
	if err := json.Unmarshal([]byte(s.must("snapshot", "list", "--all", "--show-identical", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	list = slices.DeleteFunc(list, func(e listed) bool { return e.Incomplete != "" })
	for _, e := range list {
		if e.Source.UserName != "vappvault" || e.Source.Host != "site1" || e.Source.Path != "/7a990000-0000-4000-8000-000000000001" {
			t.Errorf("got source %+v", e.Source)
		}
		ids[e.Tags["tag:point"]] = e.ID
	}
	if len(list) != 2 || ids[p1.ID] == "" || ids[p2.ID] == "" {
		t.Fatalf("got %+v, want the two points", list)
	}
	if out := s.must("snapshot", "list", "--all"); strings.Count(out, " files:") != 2 {
		t.Errorf("the plain list does not show the two points alone: %s", out)
	}
	if out := s.must("snapshot", "list", "--all", "--show-identical", "--tags", "point:"+p2.ID); !strings.Contains(out, ids[p2.ID][:8]) && strings.Count(out, "\n") < 2 {
		t.Errorf("by tag: got %s", out)
	}
	s.must("snapshot", "verify", "--verify-files-percent=100")
	s.must("content", "verify", "--full")
	for p, want := range map[string][]byte{p1.ID: full, p2.ID: changed} {
		target := t.TempDir()
		s.must("restore", "--write-sparse-files", "--skip-owners", ids[p], target)
		disk := filepath.Join(target, "disks", "33330000-0000-4000-8000-000000000001", diskUUID+".raw")
		got, err := os.ReadFile(disk)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("point %s: the restored disk differs, or %v", p, err)
		}
		if doc, err := os.ReadFile(filepath.Join(target, "vcd", "vapp.xml")); err != nil || string(doc) != "<VApp/>" {
			t.Errorf("point %s: got document %q, %v", p, doc, err)
		}
		if _, err := os.Stat(filepath.Join(target, "restorepoint.json")); err != nil {
			t.Error(err)
		}
		sums, err := os.ReadFile(strings.TrimSuffix(disk, ".raw") + ".sums")
		if err != nil || len(sums) != 32*(2*64+4) {
			t.Errorf("point %s: got %d bytes of sums, %v", p, len(sums), err)
		}
	}
	if out := s.must("policy", "show", "--global"); !strings.Contains(out, "2147483647") {
		t.Errorf("the policy does not keep everything: %s", out)
	}
	if out := s.must("maintenance", "info"); !strings.Contains(out, "vappvault@vappvault") {
		t.Errorf("the maintenance is not ours: %s", out)
	}
	// A stock user who may write neither expires points nor loses them to a pin.
	s.env = slices.DeleteFunc(s.env, func(e string) bool { return strings.HasPrefix(e, "KOPIA_CONFIG_PATH") })
	s.env = append(s.env, "KOPIA_CONFIG_PATH="+filepath.Join(t.TempDir(), "c"))
	s.must("repository", "connect", "filesystem", "--path", o.Show().Path, "--override-username=admin", "--override-hostname=x", "--no-persist-credentials")
	s.must("snapshot", "expire", "--all", "--delete")
	s.must("snapshot", "pin", "--add=legal", ids[p1.ID])
	points, err := o.Points(t.Context())
	if err != nil || len(points) != 2 {
		t.Errorf("got %v, %v", points, err)
	}
	mustVerify(t, o, p1.ID)
	if err := o.Forget(t.Context(), p1.ID); err != nil {
		t.Error(err)
	}
}

// TestStockCommandFindsDamage says that the escape hatch sees what Verify does.
func TestStockCommandFindsDamage(t *testing.T) {
	bin := stockBinary(t)
	o := newOrg(t)
	saveImage(t, o, nil, nil, image(41, 8*block))
	s := newStock(t, bin, o.Show())
	s.must("snapshot", "verify", "--verify-files-percent=100")
	flip(t, packs(t, o, "p")[0], 100_000)
	if out, err := s.run("snapshot", "verify", "--verify-files-percent=100"); err == nil {
		t.Errorf("no damage was found: %s", out)
	}
}
