/** URLs that lead to no public address, or that would be read in two ways: in every encoding that has got past a guard. */
export const ADDRESS_ZOO: readonly string[] = [
  "http://example.com/", "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://017700000001/",
  "https://0177.0.0.1/", "https://127.0.0.1./", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://%31%32%37.0.0.1/", "https://0/",
  "https://10.1/", "https://172.16.0.1/", "https://192.168.1/", "https://100.64.0.1/", "https://169.254.169.254/latest/meta-data/",
  "https://2852039166/", "https://0xa9fea9fe/", "https://100.100.100.200/", "https://168.63.129.16/", "https://192.0.0.192/",
  "https://224.0.0.1/", "https://255.255.255.255/", "https://198.18.0.1/", "https://[::]/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
  "https://[::ffff:a9fe:a9fe]/", "https://[::127.0.0.1]/", "https://[64:ff9b::a9fe:a9fe]/", "https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/",
  "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "https://[fd00:ec2::254]/", "https://[fe80::1]/", "https://[fec0::1]/", "https://[ff02::1]/",
  "https://[2001:db8::1]/", "https://localhost/", "https://LOCALHOST./", "https://ｌｏｃａｌｈｏｓｔ/", "https://app.localhost/", "https://printer.local/",
  "https://metadata.google.internal/", "https://metadata/", "https://router.home.arpa/", "https://127.0.0.1.nip.io/", "https://localtest.me/",
  "https://user:pass@example.com/", "https://example.com@127.0.0.1/", "https://example.com:0/", "https://exa\tmple.com/", " https://example.com/",
  "file:///etc/passwd", "ftp://example.com/", "javascript:alert(1)", "", "https://", "//example.com",
];
