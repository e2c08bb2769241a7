package ovf

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sample() *Envelope {
	return &Envelope{
		ID: "shop", Name: "web shop",
		Files:    []File{{ID: "f1", Href: "disk-0.vmdk", Size: 68096}, {ID: "f2", Href: "disk-1.vmdk", Size: -1, ChunkSize: 4096}},
		Disks:    []Disk{{ID: "d1", FileRef: "f1", Format: StreamOptimized, Capacity: 40 << 20, Populated: 512}, {ID: "d2", FileRef: "f2", Capacity: 1 << 20}, {ID: "d3", Capacity: 2 << 20}},
		Networks: []Network{{"lan", "inside"}},
		Startup:  []Startup{{ID: "web", Order: 1, StartDelay: 3, StartAction: "powerOn", StopAction: "powerOff"}},
		Systems: []System{{
			ID: "web", Name: "web", OSID: 96, OSType: "debian12_64Guest", OS: "Debian", Version: "vmx-19", CPUs: 2, Cores: 1, Memory: 64 << 20,
			Controllers: []Controller{{"2", SCSI, "VirtualSCSI", 0}, {"3", IDE, "", 1}, {"4", SATA, "vmware.sata.ahci", 0}, {"5", NVMe, "vmware.nvme.controller", 0}},
			Drives:      []Drive{{"2000", HardDisk, "Hard disk 1", "2", 0, "d1"}, {"2001", HardDisk, "Hard disk 2", "5", 1, "d2"}, {"2002", HardDisk, "Hard disk 3", "4", 0, "d3"}, {"3000", CDROM, "CD/DVD Drive 1", "3", 0, ""}, {"8000", Floppy, "Floppy", "", 0, ""}},
			Cards:       []Card{{InstanceID: "1", Type: "VMXNET3", Network: "lan", MAC: "00:50:56:01:02:03", Connected: true, Mode: "POOL", IP: "10.0.0.1", Primary: true}},
			Config:      []Pair{{"firmware", "efi"}, {"cpuHotAddEnabled", "true"}}, ExtraConfig: []Pair{{"a", "b"}},
		}},
	}
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	text, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v\nfrom %s", got, want, text)
	}
}

func TestSectionsAreKept(t *testing.T) {
	text, err := sample().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), `<ovf:VirtualSystem ovf:id="web">`,
		`<ovf:VirtualSystem ovf:id="web"><vcloud:GuestCustomizationSection><ovf:Info/><vcloud:Enabled>true</vcloud:Enabled></vcloud:GuestCustomizationSection>`, 1)
	e, err := Parse([]byte(with))
	if err != nil {
		t.Fatal(err)
	}
	if s := e.Systems[0].Sections; len(s) != 1 || s[0].NamespaceURI() != NSCD || s[0].SelectElement("Enabled").Text() != "true" {
		t.Errorf("got %v", s)
	}
}

func TestRefused(t *testing.T) {
	good, err := sample().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new string }{
		{"text that is no XML", "<ovf:Envelope", "<ovf:Envelope <"},
		{"another root", "ovf:Envelope", "ovf:Package"},
		{"a disk in a file that is not there", `ovf:fileRef="f1"`, `ovf:fileRef="f9"`},
		{"a drive of a disk that is not there", "ovf:/disk/d1", "ovf:/disk/d9"},
		{"a drive on a controller that is not there", "<rasd:Parent>2<", "<rasd:Parent>77<"},
		{"two disks of one id", `ovf:diskId="d2"`, `ovf:diskId="d1"`},
		{"two files of one id", `ovf:id="f2"`, `ovf:id="f1"`},
		{"a file outside of the package", `ovf:href="disk-0.vmdk"`, `ovf:href="../etc/passwd"`},
		{"a capacity that is no number", `ovf:capacity="41943040"`, `ovf:capacity="many"`},
		{"a capacity that is too big", `ovf:capacity="41943040" ovf:capacityAllocationUnits="byte"`, `ovf:capacity="99999999999" ovf:capacityAllocationUnits="byte * 2^50"`},
		{"units that nobody knows", `ovf:capacityAllocationUnits="byte"`, `ovf:capacityAllocationUnits="bushel"`},
		{"a system without hardware", "ovf:VirtualHardwareSection", "ovf:SoftwareSection"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.ReplaceAll(string(good), tt.old, tt.new)
			if text == string(good) {
				t.Fatal("nothing was changed")
			}
			if _, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}

// FuzzParse: what Parse takes, Marshal writes so that Parse takes it again, with
// the same disks and drives.
func FuzzParse(f *testing.F) {
	text, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`<Envelope xmlns="` + NS + `"><VirtualSystem><VirtualHardwareSection/></VirtualSystem></Envelope>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		again, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		b, err := Parse(again)
		if err != nil {
			t.Skip() // sections that were kept may not be well-formed outside of their document
		}
		if len(b.Disks) != len(e.Disks) || len(b.Systems) != len(e.Systems) || len(b.Files) != len(e.Files) {
			t.Errorf("got %+v, want %+v", b, e)
		}
	})
}
