package nfc

import (
	"crypto/sha1" //nolint:gosec // the form of vSphere's thumbprints
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key  string
		want place
		ok   bool
	}{
		{"/vm-42/VirtualLsiLogicController0:1", place{"scsi", 0, 1}, true},
		{"/vm-42/VirtualLsiLogicSASController1:15", place{"scsi", 1, 15}, true},
		{"/vm-42/ParaVirtualSCSIController3:0", place{"scsi", 3, 0}, true},
		{"/vm-42/VirtualBusLogicController0:0", place{"scsi", 0, 0}, true},
		{"/web01/VirtualIDEController1:0", place{"ide", 1, 0}, true},
		{"/vm-42/VirtualAHCIController0:29", place{"sata", 0, 29}, true},
		{"/vm-42/VirtualNVMEController0:14", place{"nvme", 0, 14}, true},
		{"/vm-42/disk-0.vmdk", place{}, false},
		{"/vm-42/VirtualUSBController0:0", place{}, false},
		{"/vm-42/VirtualLsiLogicController0:99999999999", place{}, false},
		{"", place{}, false},
	} {
		got, ok := parsePlace(c.key)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: got %v, %v; want %v, %v", c.key, got, ok, c.want, c.ok)
		}
	}
}

func TestControllersOfTheAPIAndOfOursAreOfOneClass(t *testing.T) {
	t.Parallel()
	for ours, api := range map[string]types.BaseVirtualController{
		"lsilogic": &types.VirtualLsiLogicController{}, "lsisas": &types.VirtualLsiLogicSASController{},
		"buslogic": &types.VirtualBusLogicController{}, "pvscsi": &types.ParaVirtualSCSIController{},
		"ahci": &types.VirtualAHCIController{}, "nvme": &types.VirtualNVMEController{}, "ide": &types.VirtualIDEController{},
	} {
		if got, want := class(ours), class(fmt.Sprintf("%T", api)); got != want || got == "" {
			t.Errorf("%s: got %q, want %q", ours, got, want)
		}
	}
}

func TestMatchDevices(t *testing.T) {
	t.Parallel()
	disk := func(key string) types.HttpNfcLeaseDeviceUrl {
		return types.HttpNfcLeaseDeviceUrl{Key: key, Url: "https://*/nfc" + key, Disk: types.NewBool(true)}
	}
	nvram := types.HttpNfcLeaseDeviceUrl{Key: "/vm-42/nvram", Disk: types.NewBool(false)}
	scsi0, scsi1 := disk("/vm-42/VirtualLsiLogicController0:0"), disk("/vm-42/VirtualLsiLogicController0:1")
	sata0 := disk("/vm-42/VirtualAHCIController0:0")
	imported := disk("/7/ha-disk")
	imported.ImportKey = "/web01/ParaVirtualSCSIController0:0"
	two := map[int32]place{2000: {"scsi", 0, 0}, 2001: {"scsi", 0, 1}}
	for _, c := range []struct {
		name    string
		devices []types.HttpNfcLeaseDeviceUrl
		disks   map[int32]place
		want    map[int32]types.HttpNfcLeaseDeviceUrl
	}{
		{"disks are found by their place, not their order", []types.HttpNfcLeaseDeviceUrl{nvram, scsi1, scsi0}, two,
			map[int32]types.HttpNfcLeaseDeviceUrl{2000: scsi0, 2001: scsi1}},
		{"a disk that the lease lacks is not found", []types.HttpNfcLeaseDeviceUrl{scsi1}, two,
			map[int32]types.HttpNfcLeaseDeviceUrl{2001: scsi1}},
		{"buses of two classes have the same numbers", []types.HttpNfcLeaseDeviceUrl{sata0, scsi0},
			map[int32]place{2000: {"scsi", 0, 0}, 15000: {"sata", 0, 0}},
			map[int32]types.HttpNfcLeaseDeviceUrl{2000: scsi0, 15000: sata0}},
		{"the import key counts where the key says nothing", []types.HttpNfcLeaseDeviceUrl{imported, sata0}, two,
			map[int32]types.HttpNfcLeaseDeviceUrl{2000: imported}},
		{"the only disk needs no place", []types.HttpNfcLeaseDeviceUrl{nvram, disk("/vm-42/disk-0")}, map[int32]place{2000: {}},
			map[int32]types.HttpNfcLeaseDeviceUrl{2000: disk("/vm-42/disk-0")}},
		{"one of two disks is not guessed", []types.HttpNfcLeaseDeviceUrl{disk("/vm-42/disk-0")}, map[int32]place{2000: {}, 2001: {}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := matchDevices(c.devices, c.disks)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			for key, want := range c.want {
				if got[key].Url != want.Url {
					t.Errorf("disk %d: got %s, want %s", key, got[key].Url, want.Url)
				}
			}
		})
	}
	if _, err := matchDevices([]types.HttpNfcLeaseDeviceUrl{scsi0, scsi0}, two); err == nil {
		t.Error("two disks in one place were taken")
	}
}

func vim(t *testing.T, server string) *vim25.Client {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	return &vim25.Client{Client: soap.NewClient(u, false)}
}

func TestDeviceURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, server, url, want string }{
		{"a host of its own", "https://vc.example/sdk", "https://esx1.example/nfc/1/disk-0.vmdk", "https://esx1.example/nfc/1/disk-0.vmdk"},
		{"the host that we know", "https://vc.example/sdk", "https://*/nfc/1/disk-0.vmdk", "https://vc.example/nfc/1/disk-0.vmdk"},
		{"its port too", "https://vc.example:8443/sdk", "https://*/nfc/1", "https://vc.example:8443/nfc/1"},
		{"but not against the lease", "https://vc.example:8443/sdk", "https://*:902/nfc/1", "https://vc.example:902/nfc/1"},
		{"an address of version 6", "https://[fd00::1]:8443/sdk", "https://*:902/nfc/1", "https://[fd00::1]:902/nfc/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := deviceURL(vim(t, c.server), types.HttpNfcLeaseDeviceUrl{Url: c.url})
			if err != nil || got.String() != c.want {
				t.Errorf("got %v, %v; want %s", got, err, c.want)
			}
		})
	}
	if _, err := deviceURL(vim(t, "https://vc.example"), types.HttpNfcLeaseDeviceUrl{Url: "disk-0.vmdk"}); err == nil {
		t.Error("a URL without a host was taken")
	}
}

func TestThumbprintOfTheLeaseDecides(t *testing.T) {
	t.Parallel()
	host := httptest.NewUnstartedServer(http.NotFoundHandler())
	host.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the point
	host.StartTLS()
	defer host.Close()
	cert := host.Certificate()
	sum := sha1.Sum(cert.Raw) //nolint:gosec // as above
	var parts []string
	for _, b := range sum {
		parts = append(parts, fmt.Sprintf("%02x", b))
	}
	good := strings.Join(parts, ":")
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	for _, c := range []struct {
		name   string
		device types.HttpNfcLeaseDeviceUrl
		ok     bool
	}{
		{"the right thumbprint", types.HttpNfcLeaseDeviceUrl{SslThumbprint: good}, true},
		{"a wrong thumbprint", types.HttpNfcLeaseDeviceUrl{SslThumbprint: strings.Repeat("00:", 19) + "00"}, false},
		{"none, and no authority either", types.HttpNfcLeaseDeviceUrl{}, false},
		{"the certificate itself", types.HttpNfcLeaseDeviceUrl{SslCertificate: certificate, SslThumbprint: "00"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := vim(t, "https://vc.example/sdk")
			c.device.Url = host.URL + "/nfc/1/disk-0.vmdk"
			u, err := deviceURL(client, c.device)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := newHTTP(client, time.Minute).Get(u.String())
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestThumbprintForVCenterItselfIsIgnored(t *testing.T) {
	t.Parallel()
	client := vim(t, "https://vc.example/sdk")
	if _, err := deviceURL(client, types.HttpNfcLeaseDeviceUrl{Url: "https://*/nfc/1", SslThumbprint: "AA:BB"}); err != nil {
		t.Fatal(err)
	}
	if got := client.Thumbprint("vc.example"); got != "" {
		t.Errorf("vCenter is now known by %s", got)
	}
}
