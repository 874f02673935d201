"""
The passwords that are tried first: those of public lists that are long enough for ours.

Guesses are too slow here (:mod:`mezite.auth.limiter`) for a longer list to help.
"""

from __future__ import annotations

from typing import Final

# One a word, in lower case.
COMMON_PASSWORDS: Final = frozenset(
    """
password password1 password12 password123 password1234 passw0rd passw0rd1 p@ssw0rd p@ssword
p@ssw0rd1 pa$$word pa55word 12345678 123456789 1234567890 12345678910 123123123 987654321
0987654321 87654321 11111111 111111111 00000000 000000000 88888888 99999999 22222222
33333333 44444444 55555555 66666666 77777777 12341234 11223344 1122334455 123321123
147258369 123654789 789456123 159753456 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234
qwerty12345 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qaz2wsx3edc zaq12wsx qazwsxedc q1w2e3r4 q1w2e3r4t5
asdfghjk asdfghjkl asdfasdf zxcvbnm1 zxcvbnm123 qwer1234 asdf1234 1234qwer abcd1234 abc12345
abcd12345 a1b2c3d4 aa123456 a12345678 a123456789 abcdefgh abcdefghi aaaaaaaa aaaaaaaaa
iloveyou iloveyou1 iloveyou2 ihateyou sunshine sunshine1 princess princess1 football
football1 baseball baseball1 basketball superman superman1 batman123 pokemon1 starwars
starwars1 trustno1 letmein1 letmein123 welcome1 welcome12 welcome123 whatever whatever1
computer computer1 internet michelle jennifer jessica1 jordan23 michael1 samantha danielle
victoria elizabeth christian charlotte benjamin alexander nicholas jonathan patricia
mercedes corvette chocolate butterfly elephant dolphins rainbow1 flower123 monkey123
dragon123 shadow123 master123 killer123 hunter123 changeme changeme1 changeme123 changeit
changethis default1 default123 administrator admin123 admin1234 admin12345 adminadmin
rootroot root1234 toor1234 guest123 test1234 testtest test12345 temp1234 temppass secret123
secretpassword supersecret login123 access123 server123 linux123 ubuntu123 cisco123
oracle123 mysql123 postgres raspberry vagrant1 ansible1 letmein! password! password1!
password123! welcome1! summer2023 summer2024 summer2025 winter2023 winter2024 winter2025
spring2024 spring2025 autumn2024 autumn2025 company123 passwort passwort1 passwort123
hallo123 hallo1234 schatz123 motdepasse azertyui azertyuiop contraseña 1234567a 12345678a
123456789a 123456ab mezite123 mezitemezite correcthorsebatterystaple
""".split()  # noqa: SIM905 - a list of so many words is not to be read
)
