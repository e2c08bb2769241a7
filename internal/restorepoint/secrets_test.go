package restorepoint

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestSecretsAreCutAndPutBack(t *testing.T) {
	for _, tc := range []struct {
		name, doc, cut string
		secrets        []string
	}{
		{"a password leaves its element empty", `<a><AdminPassword>s&lt;3</AdminPassword><b x="1"/></a>`, `<a><AdminPassword></AdminPassword><b x="1"/></a>`, []string{"s&lt;3"}},
		{"prefixes do not hide a password", `<v:a xmlns:v="u"><v:AdminPassword>x</v:AdminPassword></v:a>`, `<v:a xmlns:v="u"><v:AdminPassword></v:AdminPassword></v:a>`, []string{"x"}},
		{"a document without secrets stays as it is", "<a>\n <b/> </a>\n", "<a>\n <b/> </a>\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Secrets{}
			got, err := s.Cut("d", []byte(tc.doc))
			if err != nil || string(got) != tc.cut {
				t.Fatalf("Cut: %s, %v, want %s", got, err, tc.cut)
			}
			if len(s["d"]) != len(tc.secrets) || (len(tc.secrets) > 0 && s["d"][0] != tc.secrets[0]) {
				t.Fatalf("secrets: %q, want %q", s["d"], tc.secrets)
			}
			back, err := s.Restore("d", got)
			if err != nil || string(back) != tc.doc {
				t.Fatalf("Restore: %s, %v", back, err)
			}
		})
	}
}

func TestOurOwnMetadataIsLeftOut(t *testing.T) {
	doc := `<Metadata><Link/><MetadataEntry><Domain>SYSTEM</Domain><Key>vappvault.run</Key></MetadataEntry><MetadataEntry><Key>cost</Key></MetadataEntry></Metadata>`
	want := `<Metadata><Link/><MetadataEntry><Key>cost</Key></MetadataEntry></Metadata>`
	got, err := WithoutMetadata([]byte(doc), "vappvault.")
	if err != nil || string(got) != want {
		t.Fatalf("got %s, %v", got, err)
	}
}

func TestSecretsInPlacesOfTheirOwn(t *testing.T) {
	docs := map[string]string{
		"vcd/productSections.xml": `<P xmlns:o="x"><o:ProductSection o:class="shop" o:instance="1"><o:Property o:key="cur" o:value="CHF"/>` +
			`<o:Property o:password='true' o:key="api" o:value='s&lt;1'><o:Label>secret?</o:Label><o:Value o:value="s2"/></o:Property></o:ProductSection></P>`,
		"vcd/vms/1/vm.xml": `<Vm><e:Environment><e:PropertySection><e:Property e:key="cur" e:value="CHF"/><e:Property e:key="shop.api.1" e:value="s3"/></e:PropertySection>` +
			`</e:Environment><AdminPassword>s4</AdminPassword></Vm>`,
		"vsphere/1/config.xml": `<VirtualMachineConfigInfo><extraConfig t="OptionValue"><key>guestinfo.ovfEnv</key><value>s5</value></extraConfig>` +
			`<extraConfig><key>guestinfo.role</key><value>front</value></extraConfig>` +
			`<vAppConfig><property><key>0</key><id>cur</id><type>string</type><defaultValue>EUR</defaultValue><value>CHF</value></property>` +
			`<property><key>1</key><id>other</id><type>password(1..)</type><defaultValue>s6</defaultValue><value>s7</value></property>` +
			`<property><key>2</key><id>api</id><type>string</type><value>s8</value></property></vAppConfig></VirtualMachineConfigInfo>`,
		"vsphere/1/vm.vmx":       "displayName = \"password\"\nguestinfo.userdata = \"s9\"\r\nRemoteDisplay.vnc.password = \"s10\"",
		"vcd/context/a.json":     `{"name":"password","preSharedKey":"s11","list":[{"clientSecret" : "s12\"x"}],"tokens":3,"passwordPolicy":{"name":"kept"}}`,
		"vcd/context/org.xml":    `<S><Password>s13</Password><SharedSecret>s14</SharedSecret></S>`,
		"vcd/vms/1/hardware.xml": `<H><vmw:ExtraConfig vmw:key="x" vmw:value="kept"/><vmw:ExtraConfig vmw:key="guestinfo.userdata" vmw:value="s15"/></H>`,
	}
	cut := map[string][]byte{}
	for name, doc := range docs {
		cut[name] = []byte(doc)
	}
	s, err := CutAll(cut)
	if err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`s[0-9]|s&lt;1`)
	for name, doc := range cut {
		if left := secret.Find(doc); left != nil {
			t.Errorf("%s still has %s: %s", name, left, doc)
		}
		for _, kept := range []string{"CHF", "EUR", "kept", "front", "cur", "displayName = \"password\"", `"name":"password"`} {
			if bytes.Count(doc, []byte(kept)) != strings.Count(docs[name], kept) {
				t.Errorf("%s lost %s: %s", name, kept, doc)
			}
		}
	}
	raw, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if s, err = DecodeSecrets(raw); err != nil {
		t.Fatal(err)
	}
	if err := s.RestoreAll(cut); err != nil {
		t.Fatal(err)
	}
	for name, doc := range docs {
		if string(cut[name]) != doc {
			t.Errorf("%s: got %s, want %s", name, cut[name], doc)
		}
	}
}

func TestSecretsOfADamagedDocumentAreNotPutAnywhere(t *testing.T) {
	for _, places := range [][]string{{"x"}, {"-1:s"}, {"99:s"}, {"3:s", "1:s"}} {
		s := Secrets{"vcd/a.xml#places": places}
		if err := s.RestoreAll(map[string][]byte{"vcd/a.xml": []byte("<a></a>")}); err == nil {
			t.Errorf("%q has a place", places)
		}
	}
}

func FuzzCutAll(f *testing.F) {
	f.Add("vcd/a.xml", []byte(`<P><ProductSection><Property key="a" password="true" value="x"><Value value='y'/></Property></ProductSection></P>`))
	f.Add("vsphere/1/config.xml", []byte(`<C><extraConfig><key>guestinfo.ovfEnv</key><value>x</value></extraConfig><property><type>password</type><value>y</value></property></C>`))
	f.Add("vsphere/1/vm.vmx", []byte("a.password = \"x\"\n"))
	f.Add("vcd/a.json", []byte(`{"secret":"x","a":[{"password":"y"}]}`))
	f.Fuzz(func(t *testing.T, name string, doc []byte) {
		docs := map[string][]byte{name: bytes.Clone(doc)}
		s, err := CutAll(docs)
		if err != nil {
			return
		}
		if err := s.RestoreAll(docs); err != nil {
			t.Skip() // a secret whose own text held elements
		}
		if !bytes.Equal(docs[name], doc) {
			t.Fatalf("%q became %q", doc, docs[name])
		}
	})
}

func FuzzSecrets(f *testing.F) {
	f.Add([]byte(`<a><AdminPassword>x</AdminPassword></a>`))
	f.Add([]byte(`<a><AdminPassword/></a>`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s := Secrets{}
		cut, err := s.Cut("d", doc)
		if err != nil {
			return
		}
		back, err := s.Restore("d", cut)
		if err != nil {
			t.Skip() // a secret whose own text held elements
		}
		if string(back) != string(doc) {
			t.Fatalf("%q became %q", doc, back)
		}
	})
}

// FuzzRestoreAll: whatever the secrets of a damaged point say, documents are
// made whole or refused.
func FuzzRestoreAll(f *testing.F) {
	f.Add([]byte(`{"d.xml":["x"],"d.xml#places":["3:y"]}`), []byte(`<a><Password></Password></a>`))
	f.Add([]byte(`{"d.xml#places":["-1:y","99999999999999999999:z"]}`), []byte(`<a/>`))
	f.Fuzz(func(t *testing.T, secrets, doc []byte) {
		s, err := DecodeSecrets(secrets)
		if err != nil {
			return
		}
		docs := map[string][]byte{"d.xml": doc}
		if err := s.RestoreAll(docs); err != nil {
			return
		}
		if len(docs["d.xml"]) < len(doc) {
			t.Errorf("%q became %q", doc, docs["d.xml"])
		}
	})
}
