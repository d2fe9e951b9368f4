"""Texts on which the ranges of an int8 encoder are measured, and others on which it is checked.

Prose, questions, tables, code and other languages, in lengths of 1 to 150 words: the ranges have
to hold for texts that nobody has seen yet. A change of one letter in the first ones changes the
vectors of every index whose encoder.dtype is int8 (int8_method.py).
"""

from __future__ import annotations

# Ranges are measured on these.
CALIBRATION_TEXTS = (
    "x",
    "A cat.",
    "42",
    "Invoice 2024-00713",
    "What is the capital of Australia?",
    "how to reset my password",
    "best pizza near the station open late",
    "Who wrote the novel that the film was based on, and in which year was it first published?",
    "symptoms of iron deficiency in adults",
    "Is it legal to record a phone call without the other person's consent?",
    "what similarity laws must be obeyed when constructing heated models of high speed aircraft",
    "Why does my for loop skip every second element when I remove items from a list?",
    "The river rises in the mountains of the north, crosses two countries and reaches the sea "
    "after almost nine hundred kilometres. Its valley has been settled since the Bronze Age; "
    "salt, timber and later coal were carried on flat boats until the railway came in 1862. "
    "Today most of the traffic is made of cruise ships in summer and of barges with gravel all "
    "year round.",
    "Marie Curie (7 November 1867 - 4 July 1934) was a physicist and chemist who conducted "
    "pioneering research on radioactivity. She was the first person to win the Nobel Prize "
    "twice, and the only one to win it in two sciences.",
    "The defendant appeals from a judgment convicting him of breach of contract. The court "
    "below found that notice had been given in writing within the thirty days that section "
    "14(b) requires; we see no error in this finding and affirm. Costs are awarded to the "
    "respondent.",
    "This Agreement shall be governed by the laws of the State of New York. Neither party may "
    "assign its rights without prior written consent, which shall not be unreasonably withheld.",
    "Patients were randomised to receive 20 mg of the drug or a placebo once daily for twelve "
    "weeks. The primary endpoint was the change in systolic blood pressure (mean difference "
    "-7.4 mmHg, 95% CI -9.1 to -5.7, p < 0.001). Headache and nausea were the most frequent "
    "adverse events.",
    "An experimental study of a wing in a propeller slipstream was made in order to determine "
    "the spanwise distribution of the lift increase due to slipstream at different angles of "
    "attack and at different free stream to slipstream velocity ratios.",
    "We introduce a method that reads the activations of every attention head in the last layer "
    "instead of the output of the decoder alone. Different heads attend to different parts of "
    "the input, so their vectors capture different aspects of a document. On queries that need "
    "several documents with different contents the share of relevant documents found rises by "
    "up to a fifth, without another model, more memory or an additional pass.",
    "Preheat the oven to 180 degrees. Mix 250 g of flour, 100 g of sugar, a pinch of salt and "
    "two eggs; add the melted butter slowly. Bake for 35 minutes, until a toothpick comes out "
    "clean.",
    "The match ended 3-2 after extra time. Okafor scored twice in the first half, both from "
    "corners; the visitors levelled in the 88th minute with ten men on the field.",
    "Stocks fell on Tuesday as investors weighed a stronger dollar against weak earnings: the "
    "index lost 1.3% to 4,812 points, its largest daily loss since March. Oil was little "
    "changed at $78.15.",
    "She closed the door behind her and listened. Nothing; only the clock, and the rain that "
    'had not stopped since the morning they buried him. "You came back," said a voice from '
    "the stairs. She had hoped that nobody would be here.",
    "Great phone for the price!! battery lasts 2 days, camera is meh in the dark... would buy "
    "again :) 4/5 stars",
    "hi all, does anybody know if the 7 pm bus still runs on sundays? website says yes but the "
    "driver told me no. thx",
    "Dear Ms Alvarez, thank you for your message of 3 May. Your order has been sent and should "
    "arrive within five working days. If a part is missing, please reply with its number and a "
    "photograph. Kind regards, the service team",
    "All employees accrue 2.08 days of paid leave per month. Unused leave of up to five days is "
    "carried over to the next year; the rest expires on 31 March. Requests are approved by the "
    "direct manager.",
    "To replace the filter, switch the pump off, close valve B, and turn the cover "
    "anticlockwise. Do not open the housing while the pressure gauge shows more than 0.2 bar.",
    "Photosynthesis is the process by which plants, algae and some bacteria turn light, water "
    "and carbon dioxide into sugar and oxygen.",
    "In number theory, an integer p > 1 is prime if its only positive divisors are 1 and p. "
    "Euclid proved that there are infinitely many: given primes p1, ..., pn, the number p1 * "
    "... * pn + 1 has a prime factor that is none of them.",
    "The Treaty of Westphalia of 1648 ended the Thirty Years' War. Historians have long argued "
    "whether the sovereignty of states begins with it; many now call this a myth of the "
    "nineteenth century.",
    "name,age,city,income\nAda,36,London,51200\nGrace,45,New York,78300\n"
    "Alan,41,Manchester,49900\nKatherine,52,Hampton,66100",
    "| model | layers | heads | recall@10 |\n|---|---:|---:|---:|\n| small | 6 | 12 | 0.71 |\n| "
    "base | 12 | 12 | 0.78 |\n| large | 24 | 16 | 0.80 |",
    "ERROR 2026-03-01T04:12:55Z worker-7 connection to 10.0.3.17:5432 refused, retrying in 8 s "
    "(attempt 3 of 5)",
    "def moving_average(values: list[float], width: int) -> list[float]:\n    if width < "
    '1:\n        raise ValueError(f"width {width}: at least 1 is needed")\n    sums = '
    "[0.0]\n    for value in values:\n        sums.append(sums[-1] + value)\n    return [(b - "
    "a) / width for a, b in zip(sums, sums[width:])]",
    "SELECT c.name, COUNT(*) AS orders FROM customers c JOIN orders o ON o.customer_id = c.id "
    "WHERE o.created_at >= '2025-01-01' GROUP BY c.name HAVING COUNT(*) > 3 ORDER BY orders "
    "DESC;",
    '<div class="card"><h2>Opening hours</h2><p>Mon&ndash;Fri 9:00 to 17:30</p></div>',
    "public static int gcd(int a, int b) { return b == 0 ? Math.abs(a) : gcd(b, a % b); }",
    '{"id": "a1f3", "status": "failed", "retries": 2, "tags": ["eu-west", "batch"]}',
    "How do I merge two dictionaries in Python without changing either of them? I tried "
    "a.update(b), but it returns None and a is different afterwards. I am using Python 3.8 and "
    "the values can be lists, which should be concatenated.",
    "https://www.example.org/papers/2024/05/attention?id=17#section-3",
    "ALL CAPS NOTICE: THE POOL IS CLOSED UNTIL FURTHER NOTICE",
    "!!! ??? ... --- *** ### @@@ $$$ %%% &&&",
    "3.14159 2.71828 1.41421 1.61803 0.57721 6.02214e23 -273.15",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the the the the the the the the the the the the the the the the",
    "Le soleil se lève à l'est et se couche à l'ouest; la nuit, les étoiles guident les marins.",
    "Der Antrag ist schriftlich bis zum 30. Juni einzureichen. Fehlende Unterlagen können "
    "innerhalb von zwei Wochen nachgereicht werden.",
    "La biblioteca abre de lunes a viernes de nueve a siete; los libros se prestan por tres "
    "semanas.",
    "Il treno per Milano parte dal binario quattro con dieci minuti di ritardo.",
    "Москва является столицей и крупнейшим городом России.",
    "東京は日本の首都であり、世界最大級の都市圏の一つである。",
    "人工智能正在改变我们的工作方式和生活方式。",
    "서울은 대한민국의 수도이다. 한강이 도시를 가로질러 흐른다.",
    "القاهرة هي عاصمة مصر وأكبر مدنها.",
    "दिल्ली भारत की राजधानी है।",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "☕🙂 see you at 8? 🚀🚀",
    "Beekeepers inspect their hives about every ten days in spring. A colony that is preparing "
    "to swarm builds queen cells along the lower edge of the comb, and the workers feed the old "
    "queen less so that she can fly. Whoever wants to keep the colony together has two choices: "
    "to remove every queen cell, which must be repeated and is often forgotten, or to divide "
    "the colony before it divides itself. For a division, half of the brood combs with the bees "
    "on them are moved to a new hive at another place; the half without a queen raises one "
    "within four weeks. Both halves need room, food for bad weather, and an entrance small "
    "enough to be defended. The honey yield of the year is smaller, but in autumn there are two "
    "colonies with young queens, which survive the winter better.",
    "The committee reviewed the minutes of the previous meeting, which were approved without "
    "amendment. The treasurer reported a balance of 12,480 euros, of which 3,000 are reserved "
    "for repairs of the roof. It was agreed to ask three companies for offers by the end of the "
    "month and to decide on the next one. The question of opening hours in winter was "
    "postponed, since only two of the seven members present had read the survey. Under other "
    "business the archive was mentioned again: the boxes in the cellar are damp, and nobody "
    "knows what is in them.",
)

# A third of all texts: held back, for the comparison with float32 (int8_check.py).
CHECK_TEXTS = (
    "y",
    "Order 88412-B",
    "Two dogs.",
    "cheapest flight to lisbon in october",
    "Which treaty ended the war, and who signed it for the losing side?",
    "side effects of ibuprofen with alcohol",
    "what are the effects of small angles of attack on the boundary layer of a cone",
    "How can I undo the last commit without losing my changes?",
    "The old lighthouse was built of granite blocks that were shipped from a quarry eighty miles "
    "away. It went out of service when ships began to find their way by satellite, and for twenty "
    "years nobody but gulls used its gallery. Then a couple from the city bought it for less than "
    "the price of a car and opened three rooms to guests, who complain about the wind and come "
    "back every summer.",
    "Ada Lovelace (10 December 1815 - 27 November 1852) was an English mathematician, known for "
    "her notes on the analytical engine, a mechanical computer that was never finished.",
    "The tenant shall keep the premises in good repair and return them at the end of the term, "
    "fair wear excepted. Rent is due on the first day of each month; after five days a late charge "
    "of 4% applies.",
    "In this cohort of 2,318 adults, higher sodium intake was associated with a faster decline of "
    "kidney function (hazard ratio 1.21, 95% CI 1.04-1.41). Causation cannot be concluded.",
    "Soak the beans overnight. Fry the onion and the garlic, add the tomatoes, the beans and two "
    "cups of stock; simmer for an hour and salt at the end.",
    "Bid/ask: 101.25/101.40; volume 3.4M; 52-week range 77.10 - 118.92",
    "terrible service!!! waited 50 min, food cold, never again :(",
    "for (const [key, value] of Object.entries(counts)) { total += value; names.push(key); }",
    "SELECT city, COUNT(*) AS n FROM visits WHERE year = 2023 GROUP BY city HAVING n > 10;",
    "| id | name | price |\n|---|---|---|\n| 1 | bolt M6 | 0.12 |\n| 2 | nut M6 | 0.08 |",
    "WARN 2024-03-01T08:15:42Z worker-7 retrying request 3/5 after timeout (10.0s)",
    "mailto:office@example.com?subject=Re%3A%20offer",
    "no no no no no no no no no no no no",
    "Las golondrinas vuelven cada primavera al mismo alero.",
    "Die Fähre fährt heute wegen des Sturms nicht.",
    "Поезд отправляется с третьего пути через пять минут.",
    "この図書館は月曜日に休館します。",
    "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "ಬೆಂಗಳೂರು ಕರ್ನಾಟಕದ ರಾಜಧಾನಿ.",
    "ירושלים היא עיר עתיקה בהרי יהודה.",
    "Hà Nội là thủ đô của Việt Nam.",
    "The survey covers three questions. First, how often do members borrow tools, and which ones? "
    "Drills and ladders account for more than half of all loans, while the pressure washer, which "
    "cost the most, went out only four times. Second, what keeps people away? Most answers name "
    "the opening hours: the shed is open on Saturday mornings, when families are busy. Third, "
    "would members pay more? A small majority would, if the fee included sharpening and repairs. "
    "We recommend to open on one evening a week for a trial of three months, to sell the pressure "
    "washer, and to ask again next year.",
)
